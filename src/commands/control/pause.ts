/** Resolves after some milliseconds. @throws the signal's reason when it is aborted before */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const interrupted = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", interrupted);
      resolve();
    }, ms);
    signal.addEventListener("abort", interrupted, { once: true });
  });
}
