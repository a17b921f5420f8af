import { JinjaError } from "./errors.ts";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAY_MILLISECONDS = 86_400_000;

/** Directives that stand for others. */
const COMPOUND: ReadonlyMap<string, string> = new Map([
  ["c", "%a %b %e %H:%M:%S %Y"],
  ["D", "%m/%d/%y"],
  ["F", "%Y-%m-%d"],
  ["R", "%H:%M"],
  ["r", "%I:%M:%S %p"],
  ["T", "%H:%M:%S"],
  ["X", "%H:%M:%S"],
  ["x", "%m/%d/%y"],
]);

/**
 * `datetime.strftime` in the C locale, in local time, with glibc's flags `-` (no padding), `_` (spaces), `0` and `^` (upper case).
 * A directive that glibc does not know stays as it is written.
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^]?)([A-Za-z%])/g, (whole, flag: string, directive: string) => {
    const compound = COMPOUND.get(directive);
    if (compound !== undefined) {
      return strftime(date, compound);
    }
    const value = component(date, directive);
    if (value === undefined) {
      return whole;
    }
    if (typeof value === "string") {
      return flag === "^" ? value.toUpperCase() : value;
    }
    const [number, width, usual] = value;
    const pad = flag === "-" ? "" : flag === "_" ? " " : flag === "0" ? "0" : usual;
    return pad === "" ? String(number) : String(number).padStart(width, pad);
  });
}

function two(value: number, pad = "0"): readonly [number, number, string] {
  return [value, 2, pad];
}

/** A text, or a number with its width and what pads it. */
function component(date: Date, directive: string): string | readonly [number, number, string] | undefined {
  const year = date.getFullYear();
  const hour = date.getHours();
  const day = date.getDay();
  const dayOfYear = Math.round(
    (Date.UTC(year, date.getMonth(), date.getDate()) - Date.UTC(year, 0, 1)) / DAY_MILLISECONDS,
  );
  switch (directive) {
    case "a":
      return (DAYS[day] ?? "").slice(0, 3);
    case "A":
      return DAYS[day] ?? "";
    case "b":
    case "h":
      return (MONTHS[date.getMonth()] ?? "").slice(0, 3);
    case "B":
      return MONTHS[date.getMonth()] ?? "";
    case "C":
      return two(Math.floor(year / 100));
    case "d":
      return two(date.getDate());
    case "e":
      return two(date.getDate(), " ");
    case "f":
      return [date.getMilliseconds() * 1000, 6, "0"];
    case "G":
      return [isoWeek(date)[0], 4, "0"];
    case "g":
      return two(isoWeek(date)[0] % 100);
    case "H":
      return two(hour);
    case "I":
      return two(hour % 12 || 12);
    case "j":
      return [dayOfYear + 1, 3, "0"];
    case "k":
      return two(hour, " ");
    case "l":
      return two(hour % 12 || 12, " ");
    case "m":
      return two(date.getMonth() + 1);
    case "M":
      return two(date.getMinutes());
    case "n":
      return "\n";
    case "p":
      return hour < 12 ? "AM" : "PM";
    case "P":
      return hour < 12 ? "am" : "pm";
    case "s":
      return [Math.floor(date.getTime() / 1000), 1, "0"];
    case "S":
      return two(date.getSeconds());
    case "t":
      return "\t";
    case "u":
      return [day || 7, 1, "0"];
    case "U":
      return two(Math.floor((dayOfYear + 7 - day) / 7));
    case "V":
      return two(isoWeek(date)[1]);
    case "w":
      return [day, 1, "0"];
    case "W":
      return two(Math.floor((dayOfYear + 7 - ((day + 6) % 7)) / 7));
    case "y":
      return two(year % 100);
    case "Y":
      return [year, 1, "0"];
    case "z":
    case "Z":
      return ""; // a datetime without a zone has neither
    case "%":
      return "%";
    case "E":
    case "O":
      throw new JinjaError("ValueError", `strftime_now does not know the locale's %${directive} forms`);
    default:
      return undefined;
  }
}

/** Year and week by ISO 8601. */
function isoWeek(date: Date): [number, number] {
  const thursday = new Date(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const year = thursday.getUTCFullYear();
  return [year, Math.ceil(((thursday.getTime() - Date.UTC(year, 0, 1)) / DAY_MILLISECONDS + 1) / 7)];
}
