// Whether the server answers. Requests that lose it wait here until it is back.

const WAITS_MS = [500, 1000, 2000, 4000, 8000];
const health = new URL("healthz", document.baseURI);

export const connection = new EventTarget(); // "lost", "back"
let regained = null;

/** Wait until the server answers again; rejects if `signal` aborts. */
export async function lost(signal) {
  regained ??= regain();
  await raceAbort(regained, signal);
}

async function regain() {
  connection.dispatchEvent(new Event("lost"));
  for (let attempt = 0; ; attempt += 1) {
    await sleep(WAITS_MS[Math.min(attempt, WAITS_MS.length - 1)]);
    try {
      const response = await fetch(health, {
        cache: "no-store",
        signal: AbortSignal.timeout(5000),
      });
      if (response.ok) break;
    } catch {
      // not yet
    }
  }
  regained = null;
  connection.dispatchEvent(new Event("back"));
}

/** Wait `ms`; rejects if `signal` aborts. */
export function sleep(ms, signal) {
  return raceAbort(new Promise((resolve) => setTimeout(resolve, ms)), signal);
}

function raceAbort(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
