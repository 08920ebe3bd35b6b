// A full queue: waits as long as the server said, and tries again until it is stopped.
// Knows seconds; does not know what is tried.

import { Refused } from "./api.js";

const BUSY = [429, 503];

// `attempt()` until it is taken; `waiting(refusal, seconds left)` is called every second meanwhile.
export async function untilTaken(attempt, signal, waiting) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const busy = error instanceof Refused && BUSY.includes(error.status);
      if (!busy || error.retryAfter === null) throw error;
      for (let left = error.retryAfter; left > 0; left--) {
        waiting(error, left);
        await pause(1000, signal);
      }
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
  });
}
