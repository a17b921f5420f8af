/** Prompt tuning (Lester et al., 2021, arXiv:2104.08691): learnt vectors before the embeddings of every sequence. */
import {
  add,
  cat,
  div,
  Embedding,
  full,
  type Generator,
  Module,
  mul,
  noGrad,
  normal_,
  rand,
  scope,
  type Tensor,
  tensor,
} from "@fms-accel/tensor";

import { ModelInputError } from "../errors.ts";
import { packedSequenceIds } from "../layers/sequence-layout.ts";
import type { CausalLM, CausalLMInputs, CausalLMOutput } from "../modeling/causal-lm.ts";
import { AutoTokenizer } from "../tokenizer/index.ts";
import { AdapterWeights, writeAdapter } from "./adapter-files.ts";
import { AdapterModel, DEFAULT_ADAPTER } from "./adapter-model.ts";
import { AdapterModules } from "./adapter-modules.ts";
import type { LoadAdapterOptions, NewAdapterOptions } from "./adapter-options.ts";
import { AdapterError } from "./errors.ts";
import { PromptTuningConfig } from "./prompt-tuning-config.ts";
import { PromptedEmbedding } from "./prompted-embedding.ts";

/** The tensor of an adapter's file. */
const TENSOR = "prompt_embeddings";

/** The vectors, named as in PEFT: `prompt_encoder.default.embedding.weight`. */
class PromptEncoder extends Module {
  readonly embedding: Embedding;

  constructor(count: number, dim: number, device: string) {
    super();
    this.embedding = new Embedding(count, dim, { device });
  }
}

/** A language model that reads learnt vectors before every sequence. Everything else in it is frozen. */
export class PromptTuningModel<M extends CausalLM = CausalLM> extends AdapterModel<M> {
  readonly prompt_encoder: AdapterModules<PromptEncoder>;
  readonly #config: PromptTuningConfig;
  readonly #place: string;
  readonly #embedding: PromptedEmbedding;
  #enabled: boolean;

  private constructor(model: M, config: PromptTuningConfig) {
    super(model);
    const [place, embedding] = wordEmbeddings(model);
    const { numVirtualTokens } = config;
    this.#config = completed(config, model, embedding);
    this.#place = place;
    this.#embedding = new PromptedEmbedding(embedding);
    this.#enabled = true;
    const encoder = new PromptEncoder(numVirtualTokens, embedding.embedding_dim, embedding.weight.device);
    encoder.requiresGrad_(!config.inferenceMode);
    this.prompt_encoder = new AdapterModules();
    this.prompt_encoder.set(DEFAULT_ADAPTER, encoder);
    model.setSubmodule(place, this.#embedding);
    this.train(model.training);
  }

  /**
   * A model with new vectors, which are float32 and trainable.
   * @throws AdapterConfigError, AdapterError; TokenizerError for `TEXT`
   */
  static async create<M extends CausalLM>(
    model: M,
    config: PromptTuningConfig,
    { generator }: Pick<NewAdapterOptions, "generator"> = {},
  ): Promise<PromptTuningModel<M>> {
    const ids = await initialTokens(model, config, generator);
    const tuned = new PromptTuningModel(model, config);
    noGrad(() =>
      scope(() => {
        if (ids === undefined) {
          normal_(tuned.#prompt, 0, 1, generator);
        } else {
          tuned.#prompt.copyFrom(tuned.#wordsOf(ids));
        }
      }),
    );
    return tuned;
  }

  /** Opens vectors that PEFT or `savePretrained` saved. @throws AdapterConfigError, AdapterError, SafetensorsError */
  static async fromPretrained<M extends CausalLM>(
    model: M,
    directory: string,
    options: LoadAdapterOptions = {},
  ): Promise<PromptTuningModel<M>> {
    const config = PromptTuningConfig.fromPretrained(directory);
    const { embedding_dim: dim } = wordEmbeddings(model)[1];
    const shape = [config.numVirtualTokens, dim];
    using weights = AdapterWeights.open(directory, new Map([[TENSOR, shape]]), new Map());
    const tuned = new PromptTuningModel(model, config.with({ inferenceMode: options.isTrainable !== true }));
    config.warnings.forEach(options.onWarning ?? ((message) => process.emitWarning(message, "AdapterWarning")));
    weights.read(TENSOR, (stored) => tuned.#prompt.copyFrom(stored));
    return tuned;
  }

  /** The configuration by the adapter's name. */
  get peftConfig(): ReadonlyMap<string, PromptTuningConfig> {
    return new Map([[DEFAULT_ADAPTER, this.#config]]);
  }
  /** How many positions every sequence begins with that are no tokens. */
  get virtualTokens(): number {
    return this.#enabled ? this.#config.numVirtualTokens : 0;
  }
  override get adapterNames(): readonly string[] {
    return [DEFAULT_ADAPTER];
  }

  /** Logits are those of the virtual tokens too, `[B, virtual + T, V]`, as in PEFT. */
  override forward(inputs: CausalLMInputs): CausalLMOutput {
    this.baseModel.gradientCheckpointing = this.gradientCheckpointing;
    if (!this.#enabled) {
      return this.baseModel.forward(inputs);
    }
    const widened = this.#widen(inputs);
    return (inputs.cache?.length ?? 0) > 0
      ? this.baseModel.forward(widened)
      : this.#embedding.withPrompt(this.#scaledPrompt(), () => this.baseModel.forward(widened));
  }

  /** Runs `body` as if there were no vectors. */
  disableAdapter<T>(body: () => T): T {
    this.#enabled = false;
    try {
      return body();
    } finally {
      this.#enabled = true;
    }
  }

  override adapterStateDict(): Map<string, Tensor> {
    return new Map([[TENSOR, this.#prompt]]);
  }

  override setAdapterStateDict(tensors: ReadonlyMap<string, Tensor>): void {
    for (const [name, stored] of tensors) {
      if (name !== TENSOR) {
        throw new AdapterError(`prompt tuning has no tensor "${name}": expected "${TENSOR}".`);
      }
      this.#prompt.copyFrom(stored);
    }
  }

  override savePretrained(directory: string): void {
    writeAdapter(directory, this.#config.with({ inferenceMode: true }), this.adapterStateDict());
  }

  override unload(): M {
    this.baseModel.setSubmodule(this.#place, this.#embedding.base_layer);
    return this.baseModel;
  }

  get #prompt(): Tensor {
    return this.prompt_encoder.get(DEFAULT_ADAPTER)!.embedding.weight;
  }

  /** Where the model scales what its embedding gives, Hugging Face's scales the table's own: the learnt vectors are not scaled. */
  #scaledPrompt(): Tensor {
    const factor = embeddingScale(this.baseModel, this.#prompt);
    return factor === undefined ? this.#prompt : div(this.#prompt, factor);
  }

  #wordsOf(ids: Int32Array): Tensor {
    const words = this.#embedding.base_layer.forward(tensor(ids, { device: this.#prompt.device }));
    const factor = embeddingScale(this.baseModel, words);
    return factor === undefined ? words : mul(words, factor);
  }

  /** The inputs with the virtual tokens before them. Ids of virtual tokens stand for nothing: the embedding skips them. */
  #widen(inputs: CausalLMInputs): CausalLMInputs {
    const { inputIds, attentionMask, positionIds, sequenceIds, labels, cache } = inputs;
    const count = this.#config.numVirtualTokens;
    const [batch] = inputIds.shape as [number, number];
    if (sequenceIds !== undefined || (positionIds !== undefined && packedRows(inputs))) {
      throw new ModelInputError(
        "prompt tuning puts its vectors before each row: rows of several sequences cannot be used. Give every sequence a row.",
      );
    }
    const widened = (ids: Tensor, value: number): Tensor =>
      cat([full([batch, count], value, { dtype: "int32", device: ids.device }), ids], 1);
    const begins = (cache?.length ?? 0) === 0;
    const shifted =
      positionIds === undefined
        ? undefined
        : add(positionIds, full([], count, { dtype: "int32", device: positionIds.device }));
    return {
      ...inputs,
      inputIds: begins ? widened(inputIds, 0) : inputIds,
      attentionMask: attentionMask && widened(attentionMask, 1),
      positionIds:
        shifted && (begins ? cat([this.#positions(shifted.shape[0]!, shifted.device), shifted], 1) : shifted),
      labels: labels && widened(labels, -100),
    };
  }

  /** Positions 0, 1, … of the virtual tokens, `[rows, count]`. */
  #positions(rows: number, device: string): Tensor {
    const count = this.#config.numVirtualTokens;
    const data = Int32Array.from({ length: rows * count }, (_, at) => at % count);
    return tensor(data, { shape: [rows, count], device });
  }
}

function packedRows({ inputIds, attentionMask, positionIds, cache }: CausalLMInputs): boolean {
  const plain = attentionMask === undefined && cache === undefined && positionIds !== undefined;
  return plain && packedSequenceIds(positionIds, inputIds.shape[0]) !== undefined;
}

/** The table of word embeddings: the first with a row for each token. */
function wordEmbeddings(model: CausalLM): [path: string, module: Embedding] {
  for (const [path, module] of model.namedModules()) {
    if (module instanceof Embedding && module.num_embeddings === model.config.vocabSize) {
      return [path, module];
    }
  }
  throw new AdapterError("the model has no plain embedding of its vocabulary: take other adapters out first.");
}

/** Gemma's embeddings are multiplied by √hidden, rounded to their dtype, behind the table. */
function embeddingScale(model: CausalLM, like: Tensor): Tensor | undefined {
  if (!model.config.modelType.startsWith("gemma")) {
    return undefined;
  }
  return full([], Math.sqrt(like.shape.at(-1)!), { dtype: like.dtype, device: like.device });
}

/** The configuration with the sizes of the model in it, which must not contradict those that it has. */
function completed(config: PromptTuningConfig, model: CausalLM, { embedding_dim: dim }: Embedding): PromptTuningConfig {
  if (config.tokenDim !== null && config.tokenDim !== dim) {
    throw new AdapterError(`token_dim is ${config.tokenDim}, but the embeddings of the model have ${dim} numbers.`);
  }
  const { numHiddenLayers, raw } = model.config;
  const heads = raw["num_attention_heads"] ?? raw["n_head"];
  return config.with({
    tokenDim: dim,
    numLayers: numHiddenLayers,
    numAttentionHeads: typeof heads === "number" ? heads : null,
    numTransformerSubmodules: 1,
  });
}

/** The tokens whose embeddings the vectors start at; undefined where they start at random. */
async function initialTokens(
  model: CausalLM,
  config: PromptTuningConfig,
  generator: Generator | undefined,
): Promise<Int32Array | undefined> {
  const { numVirtualTokens: count, promptTuningInit } = config;
  if (promptTuningInit === "RANDOM") {
    return undefined;
  }
  if (promptTuningInit === "SAMPLE_VOCAB") {
    const drawn = scope(() => rand([count], generator === undefined ? {} : { generator }).toFloat32Array());
    return Int32Array.from(drawn, (value) => Math.floor(value * model.config.vocabSize));
  }
  const tokenizer = await AutoTokenizer.fromPretrained(config.tokenizerNameOrPath!);
  const { ids } = await tokenizer.encode(config.promptTuningInitText!);
  const foreign = ids.find((id) => id >= model.config.vocabSize);
  if (ids.length === 0 || foreign !== undefined) {
    throw new AdapterError(
      `prompt_tuning_init_text: ${ids.length === 0 ? "it has no tokens" : `token ${foreign} is not in the model's vocabulary`} ` +
        `(tokenizer of ${config.tokenizerNameOrPath}).`,
    );
  }
  return Int32Array.from({ length: count }, (_, at) => ids[at % ids.length]!);
}
