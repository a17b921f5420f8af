import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { TrainingArguments } from "../arguments/groups.ts";
import { resolveTrainingArguments } from "../arguments/parse.ts";
import { checkpointFiles } from "../checkpoint/files.ts";
import type { LoopState } from "../checkpoint/loop-state.ts";
import type { ModelFiles } from "../checkpoint/model-files.ts";
import { gatherGenerators } from "../checkpoint/generators.ts";
import { pretrainedFiles } from "../checkpoint/pretrained-files.ts";
import { withSharedOutputLock } from "../checkpoint/output-lock.ts";
import { replaceFile, writeRun, writeTrainingArguments } from "../checkpoint/run-snapshot.ts";
import { CheckpointStore } from "../checkpoint/store.ts";
import { singleProcess, type Communicator } from "../communicator.ts";
import { ArgumentError, TrainingError } from "../errors.ts";
import type { LossScaler } from "../optimizer/loss-scaler.ts";
import { FileLogger } from "../reporting/file-logger.ts";
import { TerminalReporter } from "../reporting/terminal-reporter.ts";
import type { Batch, BatchShape, DataLoader, LossFunction, TrainableModel } from "../slots.ts";
import { agreeOverRanks } from "./agreement.ts";
import { announceTraining } from "./announcement.ts";
import { groupIntoSteps } from "./batch.ts";
import { CallbackList, type TrainerCallback, type TrainerEvent } from "./callbacks.ts";
import { describeCounters } from "./counters.ts";
import { evaluateLoss } from "./evaluate.ts";
import { defaultFlow, noteMetric } from "./flow.ts";
import { modelLoss } from "./model-loss.ts";
import { modelDevice, precisionOf } from "./precision.ts";
import { openSession, type Session } from "./session.ts";
import {
  newTrainerControl,
  newTrainerState,
  trainerStateToJson,
  type LogEntry,
  type TrainerControl,
  type TrainerState,
} from "./state.ts";
import { evaluationMetrics, trainingMetrics } from "./summary.ts";
import type { StepReport } from "./train-step.ts";
import type { LoaderSource, TrainerOptions, TrainOptions, TrainOutput } from "./trainer-options.ts";
import { yieldToEventLoop } from "./yield.ts";

/**
 * Trains a model on micro-batches: Hugging Face's Trainer with its arguments, events, logs and checkpoints, as one loop to be read from
 * `train` downwards. Nothing is kept outside of an instance.
 *
 * A step is: `gradient_accumulation_steps` micro-batches, whose summed losses are divided by the trainable tokens of all of them; the gradient
 * clipped; AdamW; the schedule. After a step comes what is due of log, evaluation and checkpoint, then the event loop gets its turn.
 */
export class Trainer<Model extends TrainableModel = TrainableModel> {
  readonly model: Model;
  readonly args: TrainingArguments;
  readonly state: TrainerState = newTrainerState();
  readonly control: TrainerControl = newTrainerControl();
  readonly #options: TrainerOptions<Model>;
  readonly #communicator: Communicator;
  readonly #callbacks: CallbackList<Model>;
  readonly #reporter: TerminalReporter | undefined;
  readonly #modelFiles: ModelFiles<Model>;
  readonly #store: CheckpointStore | undefined;
  readonly #loss: LossFunction<Model>;
  readonly #loaders: { train: DataLoader | undefined; eval: DataLoader | undefined } = {
    train: undefined,
    eval: undefined,
  };
  #stopRequested = false;
  #isReady = false;

  /** @throws ArgumentError */
  constructor(options: TrainerOptions<Model>) {
    const { training, notes } = resolveTrainingArguments(options.args);
    this.args = training;
    this.model = options.model;
    this.#options = options;
    this.#communicator = options.communicator ?? singleProcess;
    this.#modelFiles = options.modelFiles ?? pretrainedFiles;
    const loss = options.loss ?? modelLoss;
    this.#loss = options.slots?.builder("loss")?.(loss, { args: training, communicator: this.#communicator }) ?? loss;
    if (training.evalStrategy !== "no" && options.evalLoader === undefined) {
      throw new ArgumentError(`eval_strategy is ${training.evalStrategy}, but there is no evaluation set.`);
    }
    this.state.isWorldProcessZero = this.#communicator.rank === 0;
    const speaks = this.state.isWorldProcessZero && options.output !== "silent";
    const output = options.output === "silent" || options.output === undefined ? process.stderr : options.output;
    this.#reporter = speaks ? new TerminalReporter(output, !training.disableTqdm) : undefined;
    this.#store =
      training.outputDir === null ? undefined : new CheckpointStore(training.outputDir, (line) => this.#say(line));
    this.#callbacks = new CallbackList<Model>([defaultFlow, ...(options.callbacks ?? []), ...this.#ownCallbacks()]);
    for (const note of notes) this.#say(note);
  }

  /** Adds a callback after those that there are. */
  addCallback(callback: TrainerCallback<Model>): void {
    this.#callbacks.add(callback);
  }

  /**
   * Ends the run after the step under way, with a checkpoint to go on from. Safe to call from a signal handler or a callback. On one of several
   * ranks it ends them all, after the same step.
   */
  requestStop(): void {
    this.#stopRequested = true;
  }

  /** Makes the data loaders now rather than when they are first used: rows become tokens, and problems in the data come to light. */
  async prepare(): Promise<void> {
    this.#loaders.train ??= await this.#load(this.#options.trainLoader);
    this.#loaders.eval ??= await this.#load(this.#options.evalLoader);
    if (!this.#isReady) await this.#callbacks.emit("onInitEnd", this.#event());
    this.#isReady = true;
  }

  /** The rows and width that no micro-batch of the training set exceeds in positions, once `prepare` was called and where it is known. */
  get largestBatch(): BatchShape | undefined {
    return this.#loaders.train?.largestBatch;
  }

  async #load(source: LoaderSource | undefined): Promise<DataLoader | undefined> {
    if (typeof source !== "function") return source;
    return source({ args: this.args, communicator: this.#communicator, say: (line) => this.#say(line) });
  }

  /**
   * Trains to the end, or until `requestStop`.
   *
   * @throws TrainingError for a loss that is not finite (unless `non_finite_loss` is skip), or when another process writes into `output_dir`;
   *   TrainingCheckpointError when resuming fails
   */
  async train(options: TrainOptions = {}): Promise<TrainOutput> {
    const { outputDir } = this.args;
    if (outputDir === null) return this.#train(options);
    return withSharedOutputLock(
      outputDir,
      this.#communicator,
      (line) => this.#say(line),
      () => this.#train(options),
    );
  }

  async #train(options: TrainOptions): Promise<TrainOutput> {
    await this.prepare();
    Object.assign(this.control, newTrainerControl());
    const session = await openSession<Model>({
      model: this.model,
      loader: this.#loaders.train,
      loss: this.#loss,
      args: this.args,
      state: this.state,
      callbacks: this.#callbacks,
      communicator: this.#communicator,
      modelFiles: this.#modelFiles,
      store: this.#store,
      resume: options.resumeFromCheckpoint ?? this.args.resumeFromCheckpoint,
      say: (line) => this.#say(line),
    });
    const { run, loop, plan } = session;
    const onAbort = (): void => this.requestStop();
    if (options.signal?.aborted === true) this.requestStop();
    options.signal?.addEventListener("abort", onAbort);
    this.model.train();
    try {
      const { loader } = session;
      const claims = this.#options.slots?.claims() ?? [];
      const ranks = this.#communicator.size;
      for (const line of announceTraining({ args: this.args, model: this.model, loader, plan, ranks, claims }))
        this.#say(line);
      await this.#callbacks.emit("onTrainBegin", { ...this.#event(), resumedFrom: session.resumedFrom });
      if (this.args.evalOnStart && session.resumedFrom === undefined) await this.evaluate();
      while (
        !(await this.#mustStop(session)) &&
        !this.control.shouldTrainingStop &&
        (this.state.globalStep < plan.maxSteps || !loop.epochEnded)
      ) {
        await this.#trainEpoch(session);
      }
      return session.stopped ? await this.#finishStopped(session) : await this.#finish(session);
    } finally {
      options.signal?.removeEventListener("abort", onAbort);
      run.dispose();
      this.model.eval();
      this.#stopRequested = false;
      await this.#callbacks.emit("onTrainEnd", this.#event());
    }
  }

  /** The rest of an epoch, from where `loop.data` stands. */
  async #trainEpoch(session: Session<Model>): Promise<void> {
    const { loop, loader, plan } = session;
    const { epoch } = loop.data;
    await loader.prepareEpoch?.(epoch);
    const batchCount = loader.batchCount(epoch);
    this.control.shouldEpochStop = false;
    await this.#callbacks.emit("onEpochBegin", this.#event());
    let isOver = false;
    if (this.state.globalStep < plan.maxSteps) {
      isOver = true;
      for await (const batches of groupIntoSteps(
        loader.batches(epoch, loop.data.batches, loop.data.stream),
        this.args.gradientAccumulationSteps,
      )) {
        loop.epochEnded = false;
        const step = await this.#trainStep(session, batches);
        loop.data.batches += batches.length;
        loop.data.stream = loader.place?.(epoch, loop.data.batches);
        this.state.globalStep++;
        this.state.epoch = epoch + (loader.progress?.(epoch, loop.data.batches) ?? loop.data.batches / batchCount);
        await this.#callbacks.emit("onStepEnd", { ...this.#event(), step });
        await this.#logEvaluateSave(session);
        await yieldToEventLoop();
        if (await this.#mustStop(session)) return;
        isOver = !this.control.shouldEpochStop && !this.control.shouldTrainingStop;
        if (!isOver) break;
      }
    }
    await this.#callbacks.emit("onEpochEnd", this.#event());
    loop.epochEnded = true;
    if (isOver || loop.data.batches >= batchCount || this.control.shouldEpochStop)
      Object.assign(loop.data, { epoch: epoch + 1, batches: 0, stream: undefined });
    await this.#logEvaluateSave(session);
  }

  /** A stop that was asked for counts between steps, while there are steps to come. */
  async #mustStop(session: Session<Model>): Promise<boolean> {
    if (!session.stopped && this.state.globalStep < session.plan.maxSteps) session.stopped = await this.#agree();
    return session.stopped;
  }

  /** Called where callbacks had a turn and something depends on it. Returns whether a stop is asked for. */
  #agree(): Promise<boolean> {
    return agreeOverRanks(this.#communicator, this.control, this.#stopRequested);
  }

  async #trainStep(session: Session<Model>, batches: readonly Batch[]): Promise<StepReport> {
    const { run, loop } = session;
    await this.#callbacks.emit("onStepBegin", this.#event());
    const step = await run.step(batches, {
      afterBatch: () => this.#callbacks.emit("onSubstepEnd", this.#event()),
      beforeUpdate: () => this.#callbacks.emit("onPreOptimizerStep", this.#event()),
      afterUpdate: () => this.#callbacks.emit("onOptimizerStep", this.#event()),
      areHeard: () => this.#callbacks.listensTo("onSubstepEnd", "onPreOptimizerStep", "onOptimizerStep"),
    });
    this.#checkTokens(step, loop);
    session.unseen.push({ step, number: this.state.globalStep + 1 });
    if (!run.defersValues || session.unseen.length >= MOST_UNSEEN) this.#settle(session);
    this.state.numInputTokensSeen += step.inputTokens;
    this.state.totalFlos += session.flopsPerPosition * step.positions;
    session.samples += step.samples;
    session.tokens += step.inputTokens;
    session.steps++;
    return step;
  }

  /** Counts a step's tokens, and says where there are none. */
  #checkTokens(step: StepReport, { counters }: LoopState): void {
    counters.trainableTokens += step.trainableTokens;
    counters.batchesWithoutTrainableTokens += step.maskedBatches;
    if (step.maskedBatches === 0) return;
    const what = `Step ${this.state.globalStep + 1}: ${step.maskedBatches} micro-batch${step.maskedBatches === 1 ? " has" : "es have"} no trainable token: every label is masked`;
    if (this.args.noTrainableTokens === "error")
      throw new TrainingError(`${what}. Check the response template and max_seq_length.`);
    // The first is worth a line, the others are in the summary.
    if (counters.batchesWithoutTrainableTokens === step.maskedBatches)
      this.#say(`${what}; such micro-batches add nothing and are counted.`);
  }

  /** Looks at the losses of the steps since the last look. Before anything is shown or written, and where a step is not finite. */
  #settle({ unseen, loop, run }: Session<Model>): void {
    for (const { step, number } of unseen.splice(0)) this.#checkLoss(step, number, loop, run.scaler);
  }

  /** Adds a step to the sums of the log, or counts why it cannot be added. */
  #checkLoss(step: StepReport, number: number, loop: LoopState, scaler: LossScaler | undefined): void {
    const { counters, losses } = loop;
    const name = `Step ${number}`;
    if (step.trainableTokens === 0) {
      counters.stepsWithoutTrainableTokens++;
      return;
    }
    const lossIsFinite = Number.isFinite(step.loss);
    if (!lossIsFinite || (!step.updated && scaler === undefined)) {
      counters.stepsNotFinite++;
      const what = lossIsFinite ? `the gradient norm is ${step.gradNorm}` : `the loss is ${step.loss}`;
      if (this.args.nonFiniteLoss === "error")
        throw new TrainingError(`${name}: ${what}. ${this.#lastGoodCheckpoint()}`);
      this.#say(`${name} is left out: ${what}.`);
      if (!lossIsFinite) return;
    }
    losses.sinceLog += step.loss;
    losses.total += step.loss;
    losses.stepsSinceLog++;
    losses.steps++;
    loop.learningRate = step.learningRate;
    loop.gradNorm = step.gradNorm !== undefined && Number.isFinite(step.gradNorm) ? step.gradNorm : null;
  }

  #lastGoodCheckpoint(): string {
    const latest = this.#store?.latest;
    return latest === undefined
      ? "No checkpoint was written before. A lower learning_rate, more warmup, or bf16 in place of fp16 may help."
      : `The last good checkpoint is ${latest}; --resume_from_checkpoint ${latest} goes on from it, perhaps with a lower learning_rate.`;
  }

  async #logEvaluateSave(session: Session<Model>): Promise<void> {
    const { control } = this;
    await this.#agree();
    if (control.shouldLog || control.shouldEvaluate || control.shouldSave) this.#settle(session);
    if (control.shouldLog) {
      await this.#logTraining(session);
      await this.#agree();
    }
    control.shouldLog = false;
    if (control.shouldEvaluate) {
      await this.evaluate();
      await this.#agree();
    }
    control.shouldEvaluate = false;
    if (control.shouldSave) await this.#saveCheckpoint(session);
    control.shouldSave = false;
  }

  async #logTraining({ loop, run }: Session<Model>): Promise<void> {
    const { losses } = loop;
    if (losses.stepsSinceLog === 0) return;
    await this.#log({
      loss: losses.sinceLog / losses.stepsSinceLog,
      ...(loop.gradNorm === null ? {} : { grad_norm: loop.gradNorm }),
      learning_rate: loop.learningRate,
      ...(run.scaler === undefined ? {} : { loss_scale: run.scaler.scale, skipped_steps: run.scaler.skippedSteps }),
    });
    losses.sinceLog = 0;
    losses.stepsSinceLog = 0;
  }

  async #log(values: LogEntry): Promise<LogEntry> {
    const seen = this.args.includeNumInputTokensSeen ? { num_input_tokens_seen: this.state.numInputTokensSeen } : {};
    const logs: LogEntry = { ...values, ...seen, epoch: this.state.epoch, step: this.state.globalStep };
    this.state.logHistory.push(logs);
    await this.#callbacks.emit("onLog", { ...this.#event(), logs });
    return logs;
  }

  /**
   * The mean loss over the tokens of the evaluation set, as `eval_loss` with its timings: logged, and held against the best so far.
   *
   * @throws TrainingError when there is no evaluation set, or no trainable token in it
   */
  async evaluate(): Promise<LogEntry> {
    await this.prepare();
    const evalLoader = this.#loaders.eval;
    if (evalLoader === undefined) throw new TrainingError("evaluate: the trainer has no evaluation set.");
    await evalLoader.prepareEpoch?.(0);
    const batchCount = evalLoader.batchCount(0);
    const result = await evaluateLoss<Model>(this.model, evalLoader, {
      device: modelDevice(this.model),
      communicator: this.#communicator,
      loss: this.#loss,
      ...precisionOf(this.args),
      onBatch: ({ index }) =>
        this.#callbacks.emit("onPredictionStep", { ...this.#event(), batchIndex: index, batchCount }),
    });
    const metrics = await this.#log(evaluationMetrics(result, this.#communicator.size));
    noteMetric(this.args, this.state, this.control, metrics);
    await this.#callbacks.emit("onEvaluate", { ...this.#event(), metrics });
    return metrics;
  }

  /** Writes the model, or its adapter, and the tokenizer; into `save_model_dir` or `output_dir` unless a folder is given. */
  async saveModel(directory: string | null = this.args.saveModelDir ?? this.args.outputDir): Promise<void> {
    if (directory === null) throw new ArgumentError("saveModel: give a folder, or set output_dir.");
    if (this.state.isWorldProcessZero) await this.#writeModel(directory);
    await this.#communicator.barrier();
  }

  /** Writes trainer_state.json and training_args.json into `output_dir`. */
  saveState(): void {
    const { outputDir } = this.args;
    if (outputDir === null || !this.state.isWorldProcessZero) return;
    mkdirSync(outputDir, { recursive: true });
    replaceFile(join(outputDir, checkpointFiles.trainerState), trainerStateToJson(this.state, this.control));
    writeTrainingArguments(join(outputDir, checkpointFiles.trainingArguments), this.args);
  }

  async #writeModel(directory: string): Promise<void> {
    mkdirSync(directory, { recursive: true });
    await this.#modelFiles.save(this.model, directory);
    await this.#options.processingClass?.savePretrained(directory);
  }

  async #saveCheckpoint(session: Session<Model>): Promise<void> {
    const { state, args } = this;
    if (this.#store === undefined) return;
    if (state.bestGlobalStep === state.globalStep) state.bestModelCheckpoint = this.#store.path(state.globalStep);
    state.statefulCallbacks = this.#callbacks.saveStates();
    session.loop.sequence = this.#store.nextSequence;
    const generators = await gatherGenerators(this.#communicator);
    const best = args.loadBestModelAtEnd ? state.bestModelCheckpoint : null;
    if (state.isWorldProcessZero) {
      await this.#store.write(state.globalStep, args.saveTotalLimit, best, async (directory) => {
        await this.#writeModel(directory);
        writeRun(directory, {
          args,
          state,
          control: this.control,
          loop: session.loop,
          generators,
          ...session.run.snapshot(),
        });
      });
    }
    await this.#communicator.barrier();
    session.savedAt = positionKey(state, session.loop);
    await this.#callbacks.emit("onSave", { ...this.#event(), checkpoint: this.#store.path(state.globalStep) });
  }

  /** After the last step: the best weights if wished, the summary, the state in output_dir. */
  async #finish(session: Session<Model>): Promise<TrainOutput> {
    this.#settle(session);
    if (this.args.loadBestModelAtEnd) await this.#loadBest();
    const metrics = await this.#log(trainingMetrics(session, this.state));
    this.#sayCounters(session);
    this.saveState();
    return { ...this.#output(session), metrics };
  }

  async #loadBest(): Promise<void> {
    const { bestModelCheckpoint, bestGlobalStep, bestMetric } = this.state;
    // A folder that was moved is looked for under its new parent.
    const places = [bestModelCheckpoint, bestGlobalStep === null ? null : (this.#store?.path(bestGlobalStep) ?? null)];
    const found = places.find((place) => place !== null && existsSync(place)) ?? null;
    if (found === null) {
      this.#say(
        `The best checkpoint (${bestModelCheckpoint ?? "none was written"}) is not there; the weights of the last step stay.`,
      );
      return;
    }
    await this.#modelFiles.restore(this.model, found);
    this.#say(`Went back to the best weights: ${found} (${this.args.metricForBestModel} ${bestMetric}).`);
  }

  /** After a stop: a checkpoint of where the run stands, unless the last step has one. */
  async #finishStopped(session: Session<Model>): Promise<TrainOutput> {
    this.#settle(session);
    if (session.savedAt !== positionKey(this.state, session.loop) && session.steps > 0)
      await this.#saveCheckpoint(session);
    this.#sayCounters(session);
    return { ...this.#output(session), metrics: {} };
  }

  #output({ loop, stopped }: Session<Model>): Omit<TrainOutput, "metrics"> {
    const { losses } = loop;
    return {
      globalStep: this.state.globalStep,
      trainingLoss: losses.steps === 0 ? 0 : losses.total / losses.steps,
      stopped,
      checkpoint: this.#store?.latest,
    };
  }

  #sayCounters({ loop, run }: Session<Model>): void {
    for (const line of describeCounters(loop.counters, run.scaler?.skippedSteps ?? 0)) this.#say(line);
    if (run.graphs !== undefined) this.#say(run.graphs.summary());
  }

  #say(line: string): void {
    this.#reporter?.print(line);
  }

  #event(): TrainerEvent<Model> {
    return { args: this.args, state: this.state, control: this.control, model: this.model };
  }

  /** The callbacks that every trainer has, on the rank that speaks. */
  #ownCallbacks(): TrainerCallback<Model>[] {
    const { outputDir, trackers, trainingLogsFilename } = this.args;
    const logs = outputDir !== null && trackers.includes("file_logger") && this.state.isWorldProcessZero;
    return [
      ...(logs ? [new FileLogger(join(outputDir, trainingLogsFilename))] : []),
      ...(this.#reporter === undefined ? [] : [this.#reporter]),
    ];
  }
}

/** Steps whose losses may wait for a look: a run that logs seldom looks now and then. */
const MOST_UNSEEN = 128;

/** Tells two checkpoints of one step apart: before and after the end of an epoch. */
function positionKey(state: TrainerState, loop: LoopState): string {
  return `${state.globalStep} ${loop.epochEnded}`;
}
