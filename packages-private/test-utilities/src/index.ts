export { fixturePath, readJsonFixture, temporaryDirectory } from "./fixtures.ts";
export { readSafetensors, type ReferenceTensor } from "./safetensors.ts";
export { expectClose, largestDifference, relativeDifference } from "./closeness.ts";
export { type LargeCheckpoint, type LlamaSizes, writeLargeCheckpoint } from "./large-checkpoint.ts";
export { meetingRanks, type MeetingRank } from "./meeting-ranks.ts";
