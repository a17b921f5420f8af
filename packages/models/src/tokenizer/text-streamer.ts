import type { DecodeStream, DecodeStreamOptions } from "./decode-stream.ts";
import type { PreTrainedTokenizer } from "./pretrained-tokenizer.ts";

export interface TextStreamerOptions extends DecodeStreamOptions {
  /** Leave out the first ids that are put: the prompt. Default false. */
  readonly skipPrompt?: boolean;
}

/** Hands the text of generated ids to a function as soon as it is certain. */
export class TextStreamer {
  readonly #stream: DecodeStream;
  readonly #onText: (text: string) => void;
  #skips: boolean;

  constructor(tokenizer: PreTrainedTokenizer, onText: (text: string) => void, options: TextStreamerOptions = {}) {
    this.#stream = tokenizer.decodeStream(options);
    this.#onText = onText;
    this.#skips = options.skipPrompt === true;
  }

  /** Takes the next ids. */
  put(ids: number | Iterable<number>): void {
    if (this.#skips) {
      this.#skips = false;
      return;
    }
    this.#give(this.#stream.push(ids));
  }

  /** Gives what was held back. */
  end(): void {
    this.#give(this.#stream.finish());
  }

  #give(text: string): void {
    if (text !== "") {
      this.#onText(text);
    }
  }
}
