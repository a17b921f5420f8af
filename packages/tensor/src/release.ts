/** Giving handles back to the engine. A scope frees many tensors at once, and one call for all of them costs little more than one for each. */
import { type Handle, native } from "./native.ts";

const pending = new Float64Array(256);
let count = 0;
let isTogether = false;

function flush(): void {
  const released = count;
  count = 0;
  if (released > 0) native.releaseMany(pending, released);
}

/** @internal Releases a handle, now or at the end of the enclosing `releaseTogether`. */
export function releaseHandle(handle: Handle): void {
  if (!isTogether) {
    native.release(handle);
    return;
  }
  pending[count++] = handle;
  if (count === pending.length) flush();
}

/** @internal Runs `body`, which only releases: its handles go back in few calls. */
export function releaseTogether(body: () => void): void {
  if (isTogether) {
    body();
    return;
  }
  isTogether = true;
  try {
    body();
  } finally {
    isTogether = false;
    flush();
  }
}
