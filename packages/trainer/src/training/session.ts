import { mkdirSync } from "node:fs";
import { manualSeed } from "@fms-accel/tensor";
import type { TrainingArguments } from "../arguments/groups.ts";
import type { LoopState } from "../checkpoint/loop-state.ts";
import type { ModelFiles } from "../checkpoint/model-files.ts";
import { describeChangedArguments, readRun } from "../checkpoint/run-snapshot.ts";
import type { CheckpointStore } from "../checkpoint/store.ts";
import type { Communicator } from "../communicator.ts";
import { ArgumentError, TrainingError } from "../errors.ts";
import { LossScaler } from "../optimizer/loss-scaler.ts";
import { NamedAdamW } from "../optimizer/named-adamw.ts";
import { ownTrainableParameters } from "../optimizer/own-parameters.ts";
import { createParameterGroups, type NamedParameterGroup } from "../optimizer/parameter-groups.ts";
import { countWarmupSteps, createSchedule } from "../schedules.ts";
import type { DataLoader, LossFunction, TrainableModel } from "../slots.ts";
import type { CallbackList } from "./callbacks.ts";
import { resolveStepInterval } from "./flow.ts";
import { checkDataPosition, newLoopState } from "./loop-progress.ts";
import { flopsPerPosition } from "./parameter-count.ts";
import { planTraining, type TrainingPlan } from "./plan.ts";
import { enableGradientCheckpointing, modelDevice, precisionOf } from "./precision.ts";
import { recordStep } from "./deferred-step.ts";
import type { TrainerState } from "./state.ts";
import { StepGraphs } from "./step-graphs.ts";
import type { StepParts, StepReport } from "./train-step.ts";
import { TrainingRun } from "./training-run.ts";

/** One call of `train`: what it works with, and what it has done. */
export interface Session<Model> {
  readonly run: TrainingRun<Model>;
  readonly loop: LoopState;
  readonly loader: DataLoader;
  readonly plan: TrainingPlan;
  readonly resumedFrom: string | undefined;
  readonly flopsPerPosition: number;
  /** `performance.now()` at its beginning. */
  readonly startedAt: number;
  /** Done by all ranks, in this session. */
  steps: number;
  samples: number;
  tokens: number;
  /** Steps whose loss nobody has looked at yet, with their numbers. */
  readonly unseen: { readonly step: StepReport; readonly number: number }[];
  /** Whether a stop ended it. */
  stopped: boolean;
  /** Step and place of the checkpoint written last. */
  savedAt: string | undefined;
}

export interface SessionParts<Model extends TrainableModel> {
  readonly model: Model;
  readonly loader: DataLoader | undefined;
  readonly loss: LossFunction<Model>;
  readonly args: TrainingArguments;
  readonly state: TrainerState;
  readonly callbacks: CallbackList<Model>;
  readonly communicator: Communicator;
  readonly modelFiles: ModelFiles<Model>;
  readonly store: CheckpointStore | undefined;
  readonly resume: boolean | string | null;
  readonly say: (line: string) => void;
}

/** Plans the run, makes optimiser, schedule and loss scale, and puts everything back where a checkpoint left it. */
export async function openSession<Model extends TrainableModel>(parts: SessionParts<Model>): Promise<Session<Model>> {
  const { model, loader, args, state, communicator, store } = parts;
  if (loader === undefined) throw new TrainingError("train: the trainer has no training set.");
  const plan = await planTraining(args, loader);
  planState(state, args, plan);
  // Another one on each rank, so that dropout does not leave the same out everywhere (fms-hf-tuning's device_specific seeds).
  manualSeed(args.seed + communicator.rank);

  if (args.gradientCheckpointing) enableGradientCheckpointing(model);
  ownTrainableParameters(model);
  const groups = createParameterGroups(model, args.weightDecay);
  checkTrainable(groups, args);
  const optimizer = new NamedAdamW(groups, { betas: [args.adamBeta1, args.adamBeta2], eps: args.adamEpsilon });
  const schedule = createSchedule({
    type: args.lrSchedulerType,
    learningRate: args.learningRate,
    warmupSteps: countWarmupSteps(args, plan.maxSteps),
    totalSteps: plan.maxSteps,
    settings: args.lrSchedulerKwargs,
  });
  const stepParts: StepParts<Model> = {
    model,
    loss: parts.loss,
    params: optimizer.params,
    device: modelDevice(model),
    autocastDtype: precisionOf(args).autocastDtype,
    scaler: args.fp16 ? new LossScaler() : undefined,
    communicator,
    maxGradNorm: args.maxGradNorm,
  };
  const run = new TrainingRun<Model>(stepParts, optimizer, schedule, deferral(parts, stepParts, optimizer));
  let loop = newLoopState(args, loader, communicator);
  let resumedFrom: string | undefined;
  if (store !== undefined) {
    mkdirSync(store.outputDir, { recursive: true });
    if (communicator.rank === 0) store.open();
    await communicator.barrier();
    resumedFrom = store.find(parts.resume);
    if (resumedFrom !== undefined) loop = await restore(parts, run, loop, resumedFrom);
  }
  return {
    run,
    loop,
    loader,
    plan,
    resumedFrom,
    flopsPerPosition: flopsPerPosition(model),
    startedAt: performance.now(),
    steps: 0,
    samples: 0,
    tokens: 0,
    unseen: [],
    stopped: false,
    savedAt: undefined,
  };
}

/**
 * On a GPU nothing of a step is looked at before it is shown, unless the next step depends on it: a loss scale, a step that may be left out,
 * other ranks.
 */
function deferral<Model extends TrainableModel>(
  { args, say }: SessionParts<Model>,
  stepParts: StepParts<Model>,
  optimizer: NamedAdamW,
): { defersValues: boolean; graphs: StepGraphs | undefined } {
  const { device, communicator } = stepParts;
  const obstacles = [
    ...(device === "cpu" ? ["the model is on the CPU: give --device cuda"] : []),
    ...(args.fp16 ? ["fp16 scales the loss by what the step before gave: use bf16"] : []),
    ...(args.nonFiniteLoss === "skip" ? ["non_finite_loss is skip"] : []),
    ...(communicator.size > 1 ? ["there are several ranks"] : []),
  ];
  const defersValues = obstacles.length === 0;
  if (!args.cudaGraphs) return { defersValues, graphs: undefined };
  if (!defersValues)
    throw new ArgumentError(`cuda_graphs: a step cannot be captured, because ${obstacles.join(", and ")}.`);
  const graphs = new StepGraphs({
    device,
    limit: args.maxCudaGraphs,
    compute: (inputs) => recordStep(stepParts, optimizer, inputs),
    equivalentLength: (length) => stepParts.model.equivalentLength?.(length) ?? length,
    undo: () => optimizer.zeroGrad(),
    say,
  });
  return { defersValues, graphs };
}

/** Sets what the plan decides, and forgets what an earlier call of `train` left. */
function planState(state: TrainerState, args: TrainingArguments, plan: TrainingPlan): void {
  Object.assign(state, {
    epoch: 0,
    globalStep: 0,
    maxSteps: plan.maxSteps,
    numTrainEpochs: plan.epochs,
    loggingSteps: resolveStepInterval(args.loggingSteps, plan.maxSteps),
    evalSteps: resolveStepInterval(args.evalSteps ?? args.loggingSteps, plan.maxSteps),
    saveSteps: resolveStepInterval(args.saveSteps, plan.maxSteps),
    trainBatchSize: args.perDeviceTrainBatchSize,
    numInputTokensSeen: 0,
    totalFlos: 0,
    logHistory: [],
    bestMetric: null,
    bestGlobalStep: null,
    bestModelCheckpoint: null,
  });
}

function checkTrainable(groups: readonly NamedParameterGroup[], args: TrainingArguments): void {
  const params = groups.flatMap(({ params: members }) => members);
  if (params.length === 0) throw new TrainingError("The model has nothing to train: no parameter requires a gradient.");
  const half = groups.flatMap(({ names, params: members }) =>
    names.filter((_, index) => members[index]?.dtype === "float16"),
  );
  if (args.fp16 && half.length > 0) {
    throw new ArgumentError(
      `fp16: mixed precision keeps trainable weights in float32, but ${half.length} of them are float16 (${half[0]}, …). Load the model with torch_dtype float32, or train an adapter.`,
    );
  }
}

/** Puts weights, optimiser, loss scale, generator and state back; returns the loop's place. */
async function restore<Model extends TrainableModel>(
  parts: SessionParts<Model>,
  run: TrainingRun<Model>,
  fresh: LoopState,
  checkpoint: string,
): Promise<LoopState> {
  const { args, state, say } = parts;
  await parts.modelFiles.restore(parts.model, checkpoint);
  const { loop, scheduleStep, saved } = readRun(checkpoint, run, parts.communicator);
  run.scheduleStep = scheduleStep;
  for (const change of describeChangedArguments(checkpoint, args)) say(change);
  if (args.ignoreDataSkip) Object.assign(loop.data, { ...fresh.data, epoch: loop.data.epoch });
  else checkDataPosition(checkpoint, loop.data, fresh.data);
  Object.assign(state, {
    epoch: saved.epoch,
    globalStep: saved.global_step,
    logHistory: saved.log_history,
    numInputTokensSeen: saved.num_input_tokens_seen,
    totalFlos: saved.total_flos,
    bestMetric: saved.best_metric,
    bestGlobalStep: saved.best_global_step,
    bestModelCheckpoint: saved.best_model_checkpoint,
  });
  parts.callbacks.loadStates(saved.stateful_callbacks);
  return loop;
}
