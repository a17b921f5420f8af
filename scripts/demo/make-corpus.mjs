// Writes the text that the demo's base model is trained on: short stories, facts and talks of the little world.
//
//   node scripts/demo/make-corpus.mjs --documents 40000 --seed 1 --out out/demo/corpus.jsonl
//
// One JSON object {"text": …} a line. Nothing is copied from anywhere: a grammar of our own draws every sentence.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createRandom } from "./random.mjs";
import {
  ANIMALS,
  COLOURED_THINGS,
  COLOURS,
  DAYS,
  FEELINGS,
  NAMES,
  NUMBERS,
  OPPOSITES,
  PLACES,
  PRONOUNS,
  SENSES,
  TOYS,
  article,
  capitalised,
  facts,
} from "./world.mjs";

/** One fact sentence of any kind. */
function drawFact(random) {
  const animal = random.pick(ANIMALS);
  switch (random.integer(0, 9)) {
    case 0:
    case 1: {
      const pair = random.pick(OPPOSITES);
      const [word, other] = random.chance(0.5) ? pair : [pair[1], pair[0]];
      return facts.opposite(word, other);
    }
    case 2: {
      const { thing, colour } = random.pick(COLOURED_THINGS);
      return facts.colour(thing, colour);
    }
    case 3:
    case 4: {
      const a = random.integer(0, 10);
      return facts.sum(a, random.integer(0, 10));
    }
    case 5: {
      const a = random.integer(0, 10);
      return facts.difference(a, random.integer(0, a));
    }
    case 6:
      return random.pick([facts.sound, facts.home, facts.food])(animal);
    case 7:
      return random.pick([facts.dayAfter, facts.dayBefore])(random.integer(0, 6));
    case 8: {
      const [verb, part] = random.pick(SENSES);
      return facts.sense(verb, part);
    }
    default:
      return facts.numberAfter(random.integer(0, 19));
  }
}

function factParagraph(random) {
  return Array.from({ length: random.integer(3, 7) }, () => drawFact(random)).join(" ");
}

/** Facts of one kind in a row, so that the kind itself becomes a habit: opposites, a sum table, the days. */
function lesson(random) {
  switch (random.integer(0, 4)) {
    case 0:
      return random
        .sample(OPPOSITES, random.integer(3, 6))
        .map(([word, other]) => (random.chance(0.5) ? facts.opposite(word, other) : facts.opposite(other, word)))
        .join(" ");
    case 1: {
      const a = random.integer(0, 10);
      const from = random.integer(0, 6);
      return Array.from({ length: 5 }, (_, step) => facts.sum(a, from + step)).join(" ");
    }
    case 2: {
      const from = random.integer(0, 6);
      return Array.from({ length: 4 }, (_, step) => facts.dayAfter((from + step) % 7)).join(" ");
    }
    case 3:
      return random
        .sample(COLOURED_THINGS, random.integer(3, 6))
        .map(({ thing, colour }) => facts.colour(thing, colour))
        .join(" ");
    default: {
      const animal = random.pick(ANIMALS);
      return [facts.sound(animal), facts.home(animal), facts.food(animal)].join(" ");
    }
  }
}

function counting(random) {
  const from = random.integer(0, 12);
  const to = Math.min(20, from + random.integer(4, 8));
  const name = random.pick(NAMES);
  return `${name} counts from ${NUMBERS[from]} to ${NUMBERS[to]}: ${NUMBERS.slice(from, to + 1).join(", ")}.`;
}

function lostToy(random) {
  const [name, friend] = random.sample(NAMES, 2);
  const { subject, possessive } = PRONOUNS[name];
  const toy = random.pick(TOYS);
  const colour = random.pick(COLOURS);
  const [first, second] = random.sample(PLACES, 2);
  return [
    `${name} has ${article(colour)} ${toy}.`,
    `One day the ${toy} is gone and ${name} is sad.`,
    `${capitalised(subject)} looks ${first}, but the ${toy} is not there.`,
    `${friend} helps ${name} to look for it.`,
    `At last they find the ${toy} ${second}.`,
    `${name} is happy again and thanks ${possessive} friend ${friend}.`,
  ].join(" ");
}

function meeting(random) {
  const name = random.pick(NAMES);
  const animal = random.pick(ANIMALS);
  const { subject } = PRONOUNS[name];
  const feeling = random.pick(FEELINGS);
  return [
    `${name} goes to the ${animal.home} and meets ${article(animal.name)}.`,
    `The ${animal.name} is ${feeling} and says ${animal.sound}.`,
    `${name} gives the ${animal.name} some ${animal.food}.`,
    `The ${animal.name} eats the ${animal.food} and ${name} smiles.`,
    random.chance(0.5) ? `Then ${subject} goes home.` : `Now ${name} and the ${animal.name} are friends.`,
  ].join(" ");
}

function gifts(random) {
  const [name, friend] = random.sample(NAMES, 2);
  const toy = random.pick(TOYS);
  const colour = random.pick(COLOURS);
  const have = random.integer(1, 10);
  const more = random.integer(1, 10);
  return [
    `${name} has ${NUMBERS[have]} ${have === 1 ? "apple" : "apples"}.`,
    `${friend} gives ${name} ${NUMBERS[more]} more.`,
    `Now ${name} has ${NUMBERS[have + more]} apples, because ${facts.sum(have, more).toLowerCase()}`,
    `${name} gives ${friend} ${article(colour)} ${toy}.`,
    `The ${toy} is ${colour} and ${friend} likes it.`,
  ].join(" ");
}

/** Things and their places; one of them is asked for. */
function whereIsIt(random) {
  const places = random.sample(PLACES, random.integer(2, 4));
  const toys = random.sample(TOYS, places.length);
  const things = places.map((place, index) => ({ toy: toys[index], colour: random.pick(COLOURS), place }));
  const [name, friend] = random.sample(NAMES, 2);
  const { toy, colour, place } = random.pick(things);
  const [question, answer] = random.pick([
    [`Where is the ${toy}?`, `The ${toy} is ${place}.`],
    [`What colour is the ${toy}?`, `The ${toy} is ${colour}.`],
    [`What is ${place}?`, `The ${colour} ${toy} is ${place}.`],
  ]);
  const told = things.map((thing) => `The ${thing.colour} ${thing.toy} is ${thing.place}.`).join(" ");
  return `${told} ${exchange(name, friend, question, answer)}`;
}

/** Children and what they have; one of them is asked for. */
function whoHasWhat(random) {
  const names = random.sample(NAMES, random.integer(2, 4));
  const toys = random.sample(TOYS, names.length);
  const owners = names.map((name, index) => ({
    name,
    thing: `${article(random.pick(COLOURS))} ${toys[index]}`,
    toy: toys[index],
  }));
  const [asking, answering] = random.sample(NAMES, 2);
  const { name, thing, toy } = random.pick(owners);
  const answer = `${name} has ${thing}.`;
  const question = random.pick([`What does ${name} have?`, `Who has the ${toy}?`]);
  return `${owners.map((owner) => `${owner.name} has ${owner.thing}.`).join(" ")} ${exchange(asking, answering, question, answer)}`;
}

/** A question about a fact and the whole sentence that answers it. */
function drawQuestion(random) {
  const animal = random.pick(ANIMALS);
  switch (random.integer(0, 8)) {
    case 0:
    case 1: {
      const pair = random.pick(OPPOSITES);
      const [word, other] = random.chance(0.5) ? pair : [pair[1], pair[0]];
      return [`What is the opposite of ${word}?`, facts.opposite(word, other)];
    }
    case 2: {
      const { thing, colour } = random.pick(COLOURED_THINGS);
      return [`What colour is ${thing}?`, facts.colour(thing, colour)];
    }
    case 3:
    case 4: {
      const [a, b] = [random.integer(0, 10), random.integer(0, 10)];
      return [`How much is ${NUMBERS[a]} plus ${NUMBERS[b]}?`, facts.sum(a, b)];
    }
    case 5:
      return random.pick([
        [`What does the ${animal.name} say?`, facts.sound(animal)],
        [`Where does the ${animal.name} live?`, facts.home(animal)],
        [`What does the ${animal.name} like to eat?`, facts.food(animal)],
      ]);
    case 6: {
      const day = random.integer(0, 6);
      return random.pick([
        [`Which day comes after ${DAYS[day]}?`, facts.dayAfter(day)],
        [`Which day comes before ${DAYS[day]}?`, facts.dayBefore(day)],
      ]);
    }
    case 7: {
      const [verb, part] = random.pick(SENSES);
      return [`What do we ${verb} with?`, facts.sense(verb, part)];
    }
    default: {
      const number = random.integer(0, 19);
      return [`Which number comes after ${NUMBERS[number]}?`, facts.numberAfter(number)];
    }
  }
}

function exchange(name, friend, question, answer) {
  return `"${question}" asks ${name}. "${answer}" says ${friend}.`;
}

/** A talk between two children; answers are whole sentences. */
function talk(random) {
  const [name, friend] = random.sample(NAMES, 2);
  const turns = Array.from({ length: random.integer(1, 4) }, () => exchange(name, friend, ...drawQuestion(random)));
  return `${name} and ${friend} sit ${random.pick(PLACES)}. ${turns.join(" ")} "Well done!" says ${name}.`;
}

/** Somebody says words that belong to nothing, and somebody repeats them: repeating is what answering begins with. */
function echo(random) {
  const [name, friend] = random.sample(NAMES, 2);
  const pool = [
    ...TOYS,
    ...COLOURS,
    ...NUMBERS,
    ...FEELINGS,
    ...ANIMALS.map((animal) => animal.name),
    ...OPPOSITES.flat(),
  ];
  const words = random.sample(pool, random.integer(4, 12)).join(", ");
  return `${name} says: ${words}. ${friend} repeats: ${words}.`;
}

function week(random) {
  const name = random.pick(NAMES);
  const { subject } = PRONOUNS[name];
  const from = random.integer(0, 6);
  const [first, second] = random.sample(TOYS, 2);
  return [
    `On ${DAYS[from]} ${name} plays with the ${first}.`,
    `On ${DAYS[(from + 1) % 7]} ${subject} plays with the ${second}.`,
    facts.dayAfter(from),
    `On ${DAYS[(from + 2) % 7]} ${name} is ${random.pick(FEELINGS)}.`,
  ].join(" ");
}

/** Forms and how often they are drawn. */
const SHARES = [
  [factParagraph, 2],
  [lesson, 2],
  [counting, 1],
  [week, 1],
  [lostToy, 1],
  [meeting, 1],
  [gifts, 1],
  [whereIsIt, 3],
  [whoHasWhat, 2],
  [talk, 4],
  [echo, 1],
];
const FORMS = SHARES.flatMap(([form, share]) => Array.from({ length: share }, () => form));

/**
 * @param {number} documents how many texts
 * @param {number} seed
 * @returns {string[]}
 */
export function makeCorpus(documents, seed) {
  const random = createRandom(seed);
  return Array.from({ length: documents }, () => random.pick(FORMS)(random));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      documents: { type: "string", default: "40000" },
      seed: { type: "string", default: "1" },
      out: { type: "string", default: "out/demo/corpus.jsonl" },
    },
  });
  const corpus = makeCorpus(Number(values.documents), Number(values.seed));
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(values.out, corpus.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  console.log(`${corpus.length} texts written to ${values.out}`);
}
