import type { CausalLM, LoraConfig } from "@fms-accel/models";
import type { DType } from "@fms-accel/tensor";
import type {
  ArgumentDefinition,
  Communicator,
  TrainerCallback,
  TrainerSlotName,
  TrainerSlotTypes,
  TrainingArguments,
  TrainingArgumentsInput,
} from "@fms-accel/trainer";
import type { z } from "zod";
import type { ModelPatcherRule } from "../patching/model-patcher-rule.ts";

/**
 * When a plugin is active, by dotted paths under `plugins` in the configuration. A path is present when something other than null stands
 * there. Active means: all of `allOf` are present, or any of `anyOf`.
 */
export interface ActivationPaths {
  readonly allOf?: readonly string[];
  readonly anyOf?: readonly string[];
}

/**
 * The sections of the configuration that belong to a plugin: path → what may stand there. A key of the file that no schema of an
 * installed plugin has is an error, so mappings are strict (`z.strictObject`). Their JSON schema is made from them, with `.describe` texts.
 */
export type ConfigurationSchemas = Readonly<Record<string, z.ZodType>>;

/** What a plugin is given: the sections by path, parsed. Those that it needs to be active are there; others may be absent. */
export type PluginConfiguration<Paths extends ActivationPaths, Schemas extends ConfigurationSchemas> = {
  readonly [Path in keyof Schemas]: z.output<Schemas[Path]> | (Path extends DefinitePath<Paths> ? never : undefined);
};

type DefinitePath<Paths extends ActivationPaths> = Paths extends { readonly anyOf: readonly string[] }
  ? never
  : NonNullable<Paths["allOf"]>[number];

/** Something native that a plugin cannot do without. */
export interface KernelRequirement {
  /** In errors: "varlen_attention". */
  readonly name: string;
  /** Loads it; called when the plugin becomes active. @throws an error that says what is missing and what to do */
  readonly load: () => unknown;
}

/**
 * A flag that makes a section of the configuration: `--padding_free huggingface`. Its words are the values of keys of the section, in this
 * order; what is left out at the end takes the default of its row.
 */
export interface PluginOption {
  /** The flag without `--`, in snake_case. */
  readonly name: string;
  /** The section that it makes or adds to. */
  readonly path: string;
  /** The keys of the section. `default: null` means that the key is left out. */
  readonly values: readonly ArgumentDefinition[];
  readonly help: string;
  /** Whether the flag alone is enough: all of its values then take their defaults. */
  readonly standsAlone?: boolean;
  /** In place of `values`, where a word's meaning depends on the word. @throws an Error whose message completes "--flag: …" */
  readonly parse?: (words: readonly string[]) => Readonly<Record<string, unknown>>;
}

/** What the framework offers to an active plugin. */
export interface PluginContext {
  readonly communicator: Communicator;
  /** Shows a line to the user, on the rank that speaks. */
  readonly say: (line: string) => void;
  /** Whether something stands at a path of the whole configuration. */
  readonly isConfigured: (path: string) => boolean;
  /** Where a path of the configuration was written, for errors: "framework.yaml:3:7", or the flag. */
  readonly locate: (path: string) => string;
}

/** Which model is to be opened. */
export interface ModelRequest {
  /** Folder of the checkpoint. */
  readonly modelNameOrPath: string;
  readonly dtype: DType | "auto";
  readonly device: string;
  readonly onWarning: (message: string) => void;
}

export interface AugmentInput {
  /** The model before adapters are added to it, as the plugins before this one left it. */
  readonly model: CausalLM;
  /** As the plugins before this one left them. */
  readonly args: TrainingArguments;
  /** The adapter that will be added; `undefined` when there is none. */
  readonly peftConfig: LoraConfig | undefined;
}

/** A part of the trainer in place of the standard one. */
export interface SlotReplacement<Slot extends TrainerSlotName> {
  /** Name in summaries and errors: "flattening-collator". */
  readonly id: string;
  readonly build: TrainerSlotTypes<CausalLM>[Slot];
}

export type SlotReplacements = { readonly [Slot in TrainerSlotName]?: SlotReplacement<Slot> };

/** What a plugin changes. Everything that is left out stays as it is. */
export interface Augmentation {
  readonly model?: CausalLM;
  /** Arguments of training that are to have other values, which is shown. Two plugins cannot want different values of one. */
  readonly args?: TrainingArgumentsInput;
  /** null: no adapter is to be added any more, because the plugin did it. */
  readonly peftConfig?: LoraConfig | null;
  /** Applied when the model is complete, adapters included. */
  readonly rules?: readonly ModelPatcherRule[];
  /** Each slot can be claimed by one plugin only. */
  readonly slots?: SlotReplacements;
}

export interface CallbackInput {
  /** The model as it will be trained: adapted and patched. */
  readonly model: CausalLM;
  readonly args: TrainingArguments;
}

/** What an active plugin does in a run, in this order. All are optional. */
export interface PluginHooks {
  /** Opens the model in place of `AutoModelForCausalLM`. At most one active plugin can. */
  loadModel?(request: ModelRequest): Promise<CausalLM>;
  augment?(input: AugmentInput): Augmentation | Promise<Augmentation>;
  callbacks?(input: CallbackInput): readonly TrainerCallback<CausalLM>[];
}

/** An acceleration: when it is active, what it needs and what it then does. Nothing of it is kept outside of what `activate` returns. */
export interface AccelerationPlugin<
  Paths extends ActivationPaths = ActivationPaths,
  Schemas extends ConfigurationSchemas = ConfigurationSchemas,
> {
  /** As in the printout of a run: "PaddingFreeAccelerationPlugin". */
  readonly name: string;
  /** One sentence, for lists. */
  readonly description: string;
  readonly paths: Paths;
  readonly schemas: Schemas;
  /** npm packages that must be there, looked for from the plugin's own package. */
  readonly requiredPackages?: readonly string[];
  readonly kernels?: readonly KernelRequirement[];
  /** Architectures of config.json that it can accelerate; left out: any. */
  readonly restrictedArchitectures?: readonly string[];
  readonly options?: readonly PluginOption[];
  /** Names of plugins or packages that must run before this one where they are active. */
  readonly after?: readonly string[];
  /** Called once in a framework, if the configuration asks for the plugin. @throws ConfigurationError for settings that contradict each other */
  activate(
    configuration: PluginConfiguration<Paths, Schemas>,
    context: PluginContext,
  ): PluginHooks | Promise<PluginHooks>;
}

/** Types a plugin by its own paths and schemas. */
export function definePlugin<const Paths extends ActivationPaths, const Schemas extends ConfigurationSchemas>(
  plugin: AccelerationPlugin<Paths, Schemas>,
): AccelerationPlugin<Paths, Schemas> {
  return plugin;
}
