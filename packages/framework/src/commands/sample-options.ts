import type { DataArguments } from "@fms-accel/trainer";

/** The data arguments that say how rows become samples, without those that are null. */
export function sampleOptions(data: DataArguments): Record<string, string> {
  const { datasetTextField, datasetConversationField, dataFormatterTemplate, responseTemplate, instructionTemplate } =
    data;
  const { longSamples, emptySamples, untrainableSamples } = data;
  const named = {
    datasetTextField,
    datasetConversationField,
    dataFormatterTemplate,
    responseTemplate,
    instructionTemplate,
  };
  return { ...withoutNulls({ ...named, longSamples }), emptySamples, untrainableSamples };
}

function withoutNulls(values: Readonly<Record<string, string | null>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== null));
}
