import type { CausalLM, LoraConfig } from "@fms-accel/models";
import {
  singleProcess,
  TrainerSlots,
  type Communicator,
  type TrainerCallback,
  type TrainerSlotName,
  type TrainingArguments,
} from "@fms-accel/trainer";
import { assembleConfiguration, NO_CONFIGURATION, type ConfigurationSources } from "./configuration/assemble.ts";
import { ConfigurationError, PluginError } from "./errors.ts";
import { ModelPatcher } from "./patching/model-patcher.ts";
import { describeConflicts } from "./patching/patch-report.ts";
import type {
  Augmentation,
  AugmentInput,
  CallbackInput,
  ModelRequest,
  SlotReplacement,
} from "./plugins/acceleration-plugin.ts";
import { activatePlugins, type ActivePlugin } from "./plugins/activate-plugins.ts";
import { ChangedArguments } from "./plugins/changed-arguments.ts";
import { discoverPlugins } from "./plugins/discover-plugins.ts";
import type { PluginDiscovery } from "./plugins/plugin-discovery.ts";
import { namePluginFault } from "./plugins/plugin-fault.ts";
import { summariseSlots } from "./plugins/slot-summary.ts";

/**
 * `configuration`: a file or an object; left out, the file that ACCELERATION_FRAMEWORK_CONFIG_FILE names, unless flags of plugins are given.
 * `arguments`: those of a run, of which the flags of plugins (`padding_free`) add to the configuration and win over it.
 */
export interface FrameworkOptions extends ConfigurationSources {
  /** Default: what `discoverPlugins()` finds for the working directory. */
  readonly plugins?: Pick<PluginDiscovery, "registrations"> & Partial<PluginDiscovery>;
  /** Whether the npm packages that active plugins need are looked for; default true. */
  readonly checkPackages?: boolean;
  readonly communicator?: Communicator;
  /** Gets the lines that are for the user, on rank 0. */
  readonly say?: (line: string) => void;
}

/** What a model and its trainer are to be made of after all plugins had their turn. */
export interface AugmentedRun {
  readonly model: CausalLM;
  readonly args: TrainingArguments;
  /** The adapter that is still to be added. */
  readonly peftConfig: LoraConfig | undefined;
  readonly slots: TrainerSlots<CausalLM>;
}

type Stage = "created" | "augmented" | "ready";

/**
 * The plugins that a configuration asks for, through one run: `create` → `loadModel` → `augment` → (adapters are added) →
 * `readyForTrain` → training. An instance is for one run, and shares nothing with others.
 */
export class AccelerationFramework {
  /** In the order in which they run. */
  readonly activePlugins: readonly ActivePlugin[];
  readonly patcher: ModelPatcher = new ModelPatcher();
  readonly slots: TrainerSlots<CausalLM> = new TrainerSlots();
  readonly #say: (line: string) => void;
  #args: ChangedArguments | undefined;
  #stage: Stage = "created";

  private constructor(plugins: readonly ActivePlugin[], say: (line: string) => void) {
    this.activePlugins = plugins;
    this.#say = say;
  }

  /**
   * Reads the configuration and activates the plugins that it asks for.
   *
   * @throws ConfigurationError with file, line and column for what is wrong in the configuration, or when there is none; PluginError for a
   *   plugin that cannot work
   */
  static async create(options: FrameworkOptions = {}): Promise<AccelerationFramework> {
    const framework = await AccelerationFramework.createIfConfigured(options);
    if (framework === undefined) throw new ConfigurationError(NO_CONFIGURATION);
    return framework;
  }

  /** As `create`; `undefined` when neither a configuration nor a flag of a plugin is given. */
  static async createIfConfigured(options: FrameworkOptions = {}): Promise<AccelerationFramework | undefined> {
    const { registrations, problems = [] } = options.plugins ?? (await discoverPlugins());
    const { communicator = singleProcess, checkPackages = true } = options;
    const say = (line: string): void => {
      if (communicator.rank === 0) options.say?.(line);
    };
    const body = assembleConfiguration(options, registrations, problems, say);
    if (body === undefined) return undefined;
    const plugins = await activatePlugins(body, { registrations, problems }, { checkPackages, communicator, say });
    return new AccelerationFramework(plugins, say);
  }

  /** Whether a plugin opens the model. */
  get requiresCustomLoading(): boolean {
    return this.activePlugins.some(({ hooks }) => hooks.loadModel !== undefined);
  }
  /** Whether a plugin changes the model, its adapter or the trainer. */
  get requiresAugmentation(): boolean {
    return this.activePlugins.some(({ hooks }) => hooks.augment !== undefined);
  }

  /** Opens the model by the plugin that does so. @throws PluginError when none does */
  async loadModel(request: ModelRequest): Promise<CausalLM> {
    const loader = this.activePlugins.find(({ hooks }) => hooks.loadModel !== undefined);
    if (loader?.hooks.loadModel === undefined)
      throw new PluginError(`None of the active plugins (${this.#names()}) opens models: use AutoModelForCausalLM.`);
    try {
      return await loader.hooks.loadModel(request);
    } catch (error) {
      throw namePluginFault(loader, "loadModel", error);
    }
  }

  /**
   * Gives every plugin its turn with the model, before adapters are added to it.
   *
   * @throws PluginError for an architecture that a plugin cannot accelerate; ConfigurationError when two plugins want the same part of the
   *   trainer or different values of an argument, or one wants what an argument cannot be
   */
  async augment({ model, args, peftConfig }: AugmentInput): Promise<AugmentedRun> {
    this.#advance("created", "augmented", "augment");
    let run: AugmentInput = { model, args, peftConfig };
    const changed = new ChangedArguments(args);
    this.#args = changed;
    for (const entry of this.activePlugins) {
      checkArchitecture(entry, run.model);
      const changes = await augmentation(entry, run);
      const adapter = changes.peftConfig === null ? undefined : (changes.peftConfig ?? run.peftConfig);
      if (changes.args !== undefined) changed.apply(entry, changes.args);
      run = { args: changed.values, model: changes.model ?? run.model, peftConfig: adapter };
      for (const rule of changes.rules ?? []) this.patcher.register(rule, entry.plugin.name);
      for (const [slot, replacement] of Object.entries(changes.slots ?? {})) {
        this.#claim(slot as TrainerSlotName, entry, replacement);
      }
    }
    return { ...run, slots: this.slots };
  }

  /**
   * Applies the rules to the complete model, shows what is at work, and collects the callbacks.
   *
   * @throws PatchError
   */
  readyForTrain(input: CallbackInput): readonly TrainerCallback<CausalLM>[] {
    this.#advance("augmented", "ready", "readyForTrain");
    this.patcher.patch(input.model);
    for (const line of this.printout()) this.#say(line);
    for (const line of describeConflicts(this.patcher.conflicts)) this.#say(line);
    return this.activePlugins.flatMap((entry) => {
      try {
        return entry.hooks.callbacks?.(input) ?? [];
      } catch (error) {
        throw namePluginFault(entry, "callbacks", error);
      }
    });
  }

  /** What is at work: the plugins with package and version, the patched modules, the replaced parts of the trainer, the changed arguments. */
  printout(): readonly string[] {
    const plugins = this.activePlugins.map(
      ({ plugin, registration: { packageName, version } }) =>
        `Active Plugin: ${plugin.name}. Package: ${packageName}. Version: ${version}.`,
    );
    const patches = this.patcher.summary();
    return [
      "***** FMS AccelerationFramework *****",
      ...plugins,
      ...(patches === "" ? [] : patches.split("\n")),
      ...summariseSlots(this.slots.claims()).split("\n"),
      ...(this.#args?.summary() ?? []),
    ];
  }

  /** Gives the model's modules their own forwards back. */
  undo(): void {
    this.patcher.undo();
  }

  #claim<Slot extends TrainerSlotName>(slot: Slot, entry: ActivePlugin, replacement: SlotReplacement<Slot>): void {
    const { name } = entry.plugin;
    const holder = this.slots.claims().find((claim) => claim.slot === slot || claim.id === replacement.id);
    if (holder === undefined) return this.slots.claim(slot, name, replacement.build, replacement.id);
    const other = this.activePlugins.find(({ plugin }) => plugin.name === holder.owner);
    const what = holder.slot === slot ? `replace the ${slot}` : `call its replacement "${replacement.id}"`;
    throw new ConfigurationError(
      `${entry.where}: ${name} wants to ${what}, but ${holder.owner} (${other?.where ?? "the program"}) already does. ` +
        "Remove one of the two sections.",
    );
  }

  #names(): string {
    return this.activePlugins.map(({ plugin }) => plugin.name).join(", ");
  }

  #advance(from: Stage, to: Stage, call: string): void {
    if (this.#stage !== from)
      throw new PluginError(
        `${call}: the framework is ${this.#stage}; it has to be ${from}. Make a new one for every run.`,
      );
    this.#stage = to;
  }
}

async function augmentation(entry: ActivePlugin, input: AugmentInput): Promise<Augmentation> {
  try {
    return (await entry.hooks.augment?.(input)) ?? {};
  } catch (error) {
    throw namePluginFault(entry, "augment", error);
  }
}

/** Checked for every active plugin, also for those that leave the model as it is. */
function checkArchitecture({ plugin, where }: ActivePlugin, { config }: CausalLM): void {
  const { restrictedArchitectures, name } = plugin;
  if (restrictedArchitectures === undefined || restrictedArchitectures.includes(config.architecture)) return;
  throw new PluginError(
    `${where}: ${name} cannot accelerate ${config.architecture}; it knows ${restrictedArchitectures.join(", ")}.`,
  );
}
