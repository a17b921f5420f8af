// Writes the demo's instruction set: questions about the little world, answered in whole sentences, as chat messages.
//
//   node scripts/demo/make-instructions.mjs --seed 1 --out examples/tiny-world
//
// train.jsonl is what the adapter learns from; held-out.jsonl asks for facts that no training example mentions. The base model
// has read them all as plain text: what the adapter learns is to answer.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createRandom } from "./random.mjs";
import {
  ANIMALS,
  COLOURED_THINGS,
  COLOURS,
  DAYS,
  NAMES,
  NUMBERS,
  OPPOSITES,
  PLACES,
  SENSES,
  TOYS,
  article,
  facts,
} from "./world.mjs";

/** Every question and answer about a fact of the world. */
function factQuestions() {
  const list = [];
  for (const [word, other] of OPPOSITES) {
    list.push([`What is the opposite of ${word}?`, facts.opposite(word, other)]);
    list.push([`What is the opposite of ${other}?`, facts.opposite(other, word)]);
  }
  for (const { thing, colour } of COLOURED_THINGS) list.push([`What colour is ${thing}?`, facts.colour(thing, colour)]);
  for (const animal of ANIMALS) {
    list.push([`What does the ${animal.name} say?`, facts.sound(animal)]);
    list.push([`Where does the ${animal.name} live?`, facts.home(animal)]);
    list.push([`What does the ${animal.name} like to eat?`, facts.food(animal)]);
  }
  for (const [index, day] of DAYS.entries()) {
    list.push([`Which day comes after ${day}?`, facts.dayAfter(index)]);
    list.push([`Which day comes before ${day}?`, facts.dayBefore(index)]);
  }
  for (let a = 0; a <= 10; a++) {
    for (let b = 0; b <= 10; b++) list.push([`How much is ${NUMBERS[a]} plus ${NUMBERS[b]}?`, facts.sum(a, b)]);
  }
  for (let n = 0; n < 20; n++) list.push([`Which number comes after ${NUMBERS[n]}?`, facts.numberAfter(n)]);
  for (const [verb, part] of SENSES) list.push([`What do we ${verb} with?`, facts.sense(verb, part)]);
  return list;
}

/** Questions about what the prompt itself says; no two prompts are likely to be equal. */
function readingQuestions(random, count) {
  return Array.from({ length: count }, () => {
    const name = random.pick(NAMES);
    const toy = random.pick(TOYS);
    const colour = random.pick(COLOURS);
    const place = random.pick(PLACES);
    return random.pick([
      [`The ${colour} ${toy} is ${place}. Where is the ${toy}?`, `The ${toy} is ${place}.`],
      [`The ${colour} ${toy} is ${place}. What colour is the ${toy}?`, `The ${toy} is ${colour}.`],
      [`${name} has ${article(colour)} ${toy}. What does ${name} have?`, `${name} has ${article(colour)} ${toy}.`],
    ]);
  });
}

const chat = ([question, answer]) => ({
  messages: [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ],
});

/**
 * @param {number} seed
 * @returns {{ train: object[], heldOut: object[] }} disjoint questions; an eighth of the facts is held out
 */
export function makeInstructions(seed) {
  const random = createRandom(seed);
  const questions = factQuestions();
  const shuffled = random.sample(questions, questions.length);
  const heldOutCount = Math.floor(shuffled.length / 8);
  const reading = readingQuestions(random, 140);
  const train = [...shuffled.slice(heldOutCount), ...reading.slice(20)];
  return {
    train: random.sample(train, train.length).map(chat),
    heldOut: [...shuffled.slice(0, heldOutCount), ...reading.slice(0, 20)].map(chat),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { seed: { type: "string", default: "1" }, out: { type: "string", default: "examples/tiny-world" } },
  });
  const { train, heldOut } = makeInstructions(Number(values.seed));
  mkdirSync(values.out, { recursive: true });
  const write = (file, list) =>
    writeFileSync(join(values.out, file), list.map((line) => `${JSON.stringify(line)}\n`).join(""));
  write("train.jsonl", train);
  write("held-out.jsonl", heldOut);
  console.log(`${train.length} examples and ${heldOut.length} held-out questions written to ${values.out}`);
}
