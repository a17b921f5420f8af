/** Settings of a dynamic loss scale; torch.amp.GradScaler's names and defaults. */
export interface LossScalerOptions {
  readonly initScale?: number;
  readonly growthFactor?: number;
  readonly backoffFactor?: number;
  readonly growthInterval?: number;
}

export interface LossScalerState {
  readonly scale: number;
  readonly growthTracker: number;
  readonly skippedSteps: number;
}

/**
 * The dynamic loss scale of float16 training, by torch.amp.GradScaler's rule: a step whose gradient is not finite is left out and the scale
 * falls by `backoffFactor`; after `growthInterval` finite steps in a row it grows by `growthFactor`. float16 gradients below 6e-8 would be
 * lost without it.
 */
export class LossScaler {
  readonly #growthFactor: number;
  readonly #backoffFactor: number;
  readonly #growthInterval: number;
  #scale: number;
  #growthTracker = 0;
  #skippedSteps = 0;

  constructor({
    initScale = 65536,
    growthFactor = 2,
    backoffFactor = 0.5,
    growthInterval = 2000,
  }: LossScalerOptions = {}) {
    this.#scale = initScale;
    this.#growthFactor = growthFactor;
    this.#backoffFactor = backoffFactor;
    this.#growthInterval = growthInterval;
  }

  /** What the loss is multiplied by before backward; gradients are divided by it again. */
  get scale(): number {
    return this.#scale;
  }

  /** Steps left out since the start of the run. */
  get skippedSteps(): number {
    return this.#skippedSteps;
  }

  /** Called once after every optimiser step, done or left out. */
  update(gradientIsFinite: boolean): void {
    if (!gradientIsFinite) {
      this.#skippedSteps++;
      this.#scale *= this.#backoffFactor;
      this.#growthTracker = 0;
      return;
    }
    this.#growthTracker++;
    if (this.#growthTracker < this.#growthInterval) return;
    const grown = Math.fround(this.#scale * this.#growthFactor);
    if (Number.isFinite(grown)) this.#scale = grown;
    this.#growthTracker = 0;
  }

  state(): LossScalerState {
    return { scale: this.#scale, growthTracker: this.#growthTracker, skippedSteps: this.#skippedSteps };
  }

  setState(state: LossScalerState): void {
    this.#scale = state.scale;
    this.#growthTracker = state.growthTracker;
    this.#skippedSteps = state.skippedSteps;
  }
}
