// The little world that the demo's base model grows up in: everything it can know is in this file.

export const NAMES = ["Mia", "Tom", "Anna", "Ben", "Lily", "Max", "Emma", "Sam", "Nora", "Leo", "Ella", "Finn"];

/** Pronouns by name: subject and possessive. */
export const PRONOUNS = Object.fromEntries(
  NAMES.map((name, index) => [
    name,
    index % 2 === 0 ? { subject: "she", possessive: "her" } : { subject: "he", possessive: "his" },
  ]),
);

/** name, sound, home, favourite food. */
export const ANIMALS = [
  ["cow", "moo", "barn", "grass"],
  ["dog", "woof", "kennel", "bones"],
  ["cat", "meow", "basket", "fish"],
  ["duck", "quack", "pond", "bread"],
  ["sheep", "baa", "field", "clover"],
  ["horse", "neigh", "stable", "hay"],
  ["pig", "oink", "sty", "apples"],
  ["bird", "tweet", "nest", "seeds"],
  ["frog", "croak", "lake", "flies"],
  ["mouse", "squeak", "hole", "cheese"],
  ["owl", "hoot", "tree", "mice"],
  ["lion", "roar", "den", "meat"],
  ["bee", "buzz", "hive", "honey"],
  ["snake", "hiss", "desert", "eggs"],
  ["hen", "cluck", "coop", "corn"],
  ["wolf", "howl", "forest", "rabbits"],
].map(([name, sound, home, food]) => ({ name, sound, home, food }));

/** What has which colour; `the` marks things that take an article. */
export const COLOURED_THINGS = [
  ["the sky", "blue"],
  ["the grass", "green"],
  ["the snow", "white"],
  ["the sun", "yellow"],
  ["the night", "black"],
  ["the sea", "blue"],
  ["a banana", "yellow"],
  ["a lemon", "yellow"],
  ["a tomato", "red"],
  ["a strawberry", "red"],
  ["a cherry", "red"],
  ["a carrot", "orange"],
  ["a pumpkin", "orange"],
  ["a leaf", "green"],
  ["a cucumber", "green"],
  ["a plum", "purple"],
  ["an elephant", "gray"],
  ["a stone", "gray"],
  ["a bear", "brown"],
  ["a potato", "brown"],
  ["a swan", "white"],
  ["a rose", "red"],
  ["a pea", "green"],
  ["a crow", "black"],
].map(([thing, colour]) => ({ thing, colour }));

export const COLOURS = ["red", "blue", "green", "yellow", "white", "black", "orange", "brown", "purple", "gray"];

export const OPPOSITES = [
  ["hot", "cold"],
  ["big", "small"],
  ["up", "down"],
  ["day", "night"],
  ["fast", "slow"],
  ["old", "young"],
  ["happy", "sad"],
  ["open", "closed"],
  ["wet", "dry"],
  ["full", "empty"],
  ["bright", "dark"],
  ["hard", "soft"],
  ["high", "low"],
  ["long", "short"],
  ["loud", "quiet"],
  ["clean", "dirty"],
  ["good", "bad"],
  ["early", "late"],
  ["near", "far"],
  ["left", "right"],
  ["thick", "thin"],
  ["sweet", "sour"],
  ["strong", "weak"],
  ["rich", "poor"],
  ["first", "last"],
  ["inside", "outside"],
  ["heavy", "light"],
  ["always", "never"],
];

export const NUMBERS = [
  "zero",
  "one",
  "two",
  "three",
  "four",
  "five",
  "six",
  "seven",
  "eight",
  "nine",
  "ten",
  "eleven",
  "twelve",
  "thirteen",
  "fourteen",
  "fifteen",
  "sixteen",
  "seventeen",
  "eighteen",
  "nineteen",
  "twenty",
];

export const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/** What one does with which part of the body. */
export const SENSES = [
  ["see", "eyes"],
  ["hear", "ears"],
  ["smell", "nose"],
  ["taste", "tongue"],
  ["walk", "feet"],
  ["clap", "hands"],
  ["bite", "teeth"],
  ["think", "head"],
];

export const TOYS = ["ball", "kite", "doll", "drum", "boat", "train", "book", "hat", "cup", "box", "key", "lamp"];

export const PLACES = [
  "under the table",
  "on the chair",
  "in the garden",
  "behind the door",
  "next to the bed",
  "in the kitchen",
  "on the roof",
  "under the tree",
  "near the river",
  "in the basket",
];

export const FEELINGS = ["happy", "sad", "tired", "hungry", "proud", "scared", "calm", "angry"];

/** @param {string} word */
export function article(word) {
  return /^[aeiou]/.test(word) ? `an ${word}` : `a ${word}`;
}

/** @param {string} sentence */
export function capitalised(sentence) {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** The fact sentences: one canonical wording each, which the base model reads often and the instruction set asks for. */
export const facts = {
  opposite: (word, other) => `The opposite of ${word} is ${other}.`,
  colour: (thing, colour) => `${capitalised(thing)} is ${colour}.`,
  sum: (a, b) => `${capitalised(NUMBERS[a])} plus ${NUMBERS[b]} is ${NUMBERS[a + b]}.`,
  difference: (a, b) => `${capitalised(NUMBERS[a])} minus ${NUMBERS[b]} is ${NUMBERS[a - b]}.`,
  sound: (animal) => `The ${animal.name} says ${animal.sound}.`,
  home: (animal) => `The ${animal.name} lives in the ${animal.home}.`,
  food: (animal) => `The ${animal.name} likes to eat ${animal.food}.`,
  dayAfter: (index) => `The day after ${DAYS[index]} is ${DAYS[(index + 1) % 7]}.`,
  dayBefore: (index) => `The day before ${DAYS[index]} is ${DAYS[(index + 6) % 7]}.`,
  sense: (verb, part) => `We ${verb} with our ${part}.`,
  numberAfter: (n) => `The number after ${NUMBERS[n]} is ${NUMBERS[n + 1]}.`,
};
