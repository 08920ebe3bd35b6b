// A countdown that can be stopped. Knows seconds; does not know what happens at its end.

// `each(seconds left)` is called every second; rejects as soon as `signal` is aborted.
export async function countdown(seconds, signal, each) {
  for (let left = seconds; left > 0; left--) {
    each(left);
    await pause(1000, signal);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
