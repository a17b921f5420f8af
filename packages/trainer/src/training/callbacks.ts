import type { TrainingArguments } from "../arguments/groups.ts";
import type { StepReport } from "./train-step.ts";
import type { LogEntry, TrainerControl, TrainerState } from "./state.ts";

/** What every event hands over. `state` and `control` are the trainer's own: what a callback changes counts. */
export interface TrainerEvent<Model = unknown> {
  readonly args: TrainingArguments;
  readonly state: TrainerState;
  readonly control: TrainerControl;
  readonly model: Model;
}

type Handler<Event> = (event: Event) => void | Promise<void>;

/**
 * Hugging Face's TrainerCallback, its event names in camelCase. Events of a step, in order: `onStepBegin`, for every micro-batch but the last
 * `onSubstepEnd`, `onPreOptimizerStep` (gradients clipped, not yet applied), `onOptimizerStep` (applied, not yet cleared), `onStepEnd`, then
 * `onLog`, `onEvaluate`, `onSave` where due.
 */
export interface TrainerCallback<Model = unknown> {
  /** The data is ready: once, before the first training or evaluation, or at the end of `prepare()`. */
  onInitEnd?: Handler<TrainerEvent<Model>>;
  /** `resumedFrom` is the checkpoint that the run goes on from. */
  onTrainBegin?: Handler<TrainerEvent<Model> & { readonly resumedFrom: string | undefined }>;
  onEpochBegin?: Handler<TrainerEvent<Model>>;
  onStepBegin?: Handler<TrainerEvent<Model>>;
  onSubstepEnd?: Handler<TrainerEvent<Model>>;
  onPreOptimizerStep?: Handler<TrainerEvent<Model>>;
  onOptimizerStep?: Handler<TrainerEvent<Model>>;
  /** `step` is what the step just done did. */
  onStepEnd?: Handler<TrainerEvent<Model> & { readonly step: StepReport }>;
  /** After each batch of an evaluation; `batchIndex` counts from 0. */
  onPredictionStep?: Handler<TrainerEvent<Model> & { readonly batchIndex: number; readonly batchCount: number }>;
  onEvaluate?: Handler<TrainerEvent<Model> & { readonly metrics: LogEntry }>;
  /** `logs` is the entry just added to log_history. */
  onLog?: Handler<TrainerEvent<Model> & { readonly logs: LogEntry }>;
  /** `checkpoint` is the folder just written. */
  onSave?: Handler<TrainerEvent<Model> & { readonly checkpoint: string }>;
  onEpochEnd?: Handler<TrainerEvent<Model>>;
  onTrainEnd?: Handler<TrainerEvent<Model>>;

  /** A callback with a state has a name under which checkpoints keep what `saveState` returns; it must be JSON. */
  readonly name?: string;
  saveState?(): unknown;
  loadState?(state: unknown): void;
}

/** The names of the events. */
export type TrainerEventName = Exclude<keyof TrainerCallback, "name" | "saveState" | "loadState">;

type EventOf<Name extends TrainerEventName, Model> = Parameters<NonNullable<TrainerCallback<Model>[Name]>>[0];

/** Calls callbacks one after the other, in the order they were added. */
export class CallbackList<Model> {
  readonly #callbacks: TrainerCallback<Model>[];

  constructor(callbacks: readonly TrainerCallback<Model>[]) {
    this.#callbacks = [...callbacks];
  }

  add(callback: TrainerCallback<Model>): void {
    this.#callbacks.push(callback);
  }

  async emit<Name extends TrainerEventName>(name: Name, event: EventOf<Name, Model>): Promise<void> {
    for (const callback of this.#callbacks) {
      const handler = callback[name] as Handler<EventOf<Name, Model>> | undefined;
      await handler?.call(callback, event);
    }
  }

  /** Whether any callback has one of these events. */
  listensTo(...names: readonly TrainerEventName[]): boolean {
    return this.#callbacks.some((callback) => names.some((name) => callback[name] !== undefined));
  }

  /** States by name, of the callbacks that have one. */
  saveStates(): Record<string, unknown> {
    const states: Record<string, unknown> = {};
    for (const callback of this.#callbacks) {
      if (callback.name !== undefined && callback.saveState !== undefined) states[callback.name] = callback.saveState();
    }
    return states;
  }

  loadStates(states: Readonly<Record<string, unknown>>): void {
    for (const callback of this.#callbacks) {
      if (callback.name !== undefined && callback.name in states) callback.loadState?.(states[callback.name]);
    }
  }
}
