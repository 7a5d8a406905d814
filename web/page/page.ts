/**
 * The page in the browser: logs in, follows the realm, and shows it.
 *
 * Streams are read with `fetch`, since an EventSource can send no header. What comes changes the
 * model; the document is made anew at most once for each frame, and not while nobody looks.
 *
 * @module
 */
/// <reference lib="dom" />
import { readEvents } from "../../agent/control/sse.ts";
import { DeltaReader, type LiveEvent } from "./live.ts";
import { withRows } from "./logs.ts";
import {
  type Actions,
  freshModel,
  type LogRow,
  type Model,
  type Order,
  parseRoute,
  type Plan,
  type Samples,
  withSample,
} from "./model.ts";
import { patchChildren } from "./patch.ts";
import { screen } from "./screen.ts";

const SESSION = "realm-session";
/** Points of samples are taken every 5 s. */
const SAMPLES_MS = 5_000;
const RETRY_MS = 1_000;
/** A log that pours is shown this often. */
const LOG_MS = 100;

let model: Model = freshModel(Date.now(), innerWidth);
let isDrawing = false;

function change(next: Partial<Model>): void {
  model = { ...model, ...next };
  draw();
}

function draw(): void {
  if (isDrawing || document.hidden) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    patchChildren(document.body, screen(model, actions));
    showDialog();
    const realm = model.current?.status.node.realm;
    document.title = realm ? `${realm} · realm` : "realm";
  });
}

/** A dialog is opened by a call, not by an attribute: that gives it the focus, and nothing else. */
function showDialog(): void {
  const dialog = document.querySelector("dialog");
  if (dialog === null) return;
  const isWanted = model.order !== undefined;
  if (isWanted && !dialog.open) dialog.showModal();
  else if (!isWanted && dialog.open) dialog.close();
}

/** What the server refused, in its words. */
class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${model.session}` };
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: undefined }));
  const said = error?.message ?? `HTTP ${response.status}`;
  const refused = new Refused(response.status, error?.hint ? `${said}. ${error.hint}` : said);
  if (response.status === 401) logOut(refused.message);
  throw refused;
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return await (await ask(path, signal === undefined ? {} : { signal })).json();
}

async function post<T>(path: string, body: unknown): Promise<T> {
  return await (await ask(path, { method: "POST", body: JSON.stringify(body) })).json();
}

/** A path with what is asked and has a value. */
function withQuery(path: string, query: Readonly<Record<string, string | number | undefined>>) {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)]]
  );
  return `${path}?${new URLSearchParams(given)}`;
}

function tell(error: unknown): void {
  change({ notice: { text: error instanceof Error ? error.message : String(error), isBad: true } });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** The one thing of its kind that goes on; another takes its place. */
class Task {
  #running = new AbortController();

  start(run: (signal: AbortSignal) => Promise<void>): void {
    this.stop();
    const { signal } = this.#running = new AbortController();
    run(signal).catch((error) => {
      if (!signal.aborted) tell(error);
    });
  }

  stop(): void {
    this.#running.abort();
  }
}

const live = new Task();
const samples = new Task();
const log = new Task();

async function* events(path: string, signal: AbortSignal) {
  const { body } = await ask(path, { signal });
  for await (const { event, data } of readEvents(body as ReadableStream<Uint8Array>)) {
    if (signal.aborted || event === "end") return;
    if (event === "error") throw new Error(JSON.parse(data).message);
    yield JSON.parse(data);
  }
}

async function followRealm(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const reader = new DeltaReader();
      for await (const event of events(withQuery("api/live", { node: model.node }), signal)) {
        const told = event as LiveEvent;
        if (told.kind === "gone") change({ gone: told.reason });
        else {
          const sample = { status: reader.next(told), monotonicMs: told.atMs };
          const version = model.current?.status.manifest?.version;
          if (model.node === undefined) home = sample.status.node.name;
          change({ ...withSample(model, sample), gone: undefined, nowMs: Date.now() });
          const isOther = sample.status.manifest?.version !== version;
          if (isOther && model.route.view === "history") loadHistory();
        }
      }
    } catch (error) {
      if (signal.aborted || model.session === null) return;
      if (error instanceof Refused && model.node !== undefined) {
        // That node cannot be asked from here.
        actions.seeFrom(undefined);
        return tell(error);
      }
      change({ gone: error instanceof Refused ? error.message : "realm ui does not answer" });
    }
    await pause(RETRY_MS, signal);
  }
}

async function followSamples(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (!document.hidden) {
      const query = { node: model.node, component: model.samplesOf };
      const found = await get<Samples>(withQuery("api/samples", query), signal).catch(() => null);
      if (signal.aborted) return;
      if (found !== null) change({ samples: found, nowMs: Date.now() });
    }
    await pause(SAMPLES_MS, signal);
  }
}

async function followLog(component: string, signal: AbortSignal): Promise<void> {
  let n = 0;
  let waiting: LogRow[] = [];
  let shown: readonly LogRow[] = [];
  const show = () => {
    if (model.logPaused) return change({ logWaiting: waiting.length });
    if (waiting.length === 0) return;
    shown = withRows(shown, waiting);
    waiting = [];
    change({ log: shown, logWaiting: 0 });
  };
  const timer = setInterval(show, LOG_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  while (!signal.aborted) {
    try {
      const path = withQuery("api/logs", { node: model.node, component });
      shown = [];
      waiting = [];
      for await (const event of events(path, signal)) {
        waiting.push({ ...event, n: n++ });
        if (waiting.length >= 10_000) waiting = waiting.slice(-5_000);
        if (model.logProblem !== undefined) change({ logProblem: undefined });
      }
    } catch (error) {
      if (signal.aborted || model.session === null) return;
      change({ logProblem: error instanceof Error ? error.message : String(error) });
    }
    await pause(RETRY_MS, signal);
  }
}

/** What a view needs beside the status is fetched when it is entered. */
function enter(): void {
  const route = parseRoute(location.hash);
  change({ route, showAll: false, notice: undefined, plan: undefined, cursorMs: undefined });
  if (model.session === null) return;
  log.stop();
  if (route.view === "logs") {
    change({ log: [], logPaused: false, logWaiting: 0, logProblem: undefined });
    log.start((signal) => followLog(route.name, signal));
  }
  const of = route.view === "component" ? route.name : undefined;
  if (of !== model.samplesOf || model.samples === undefined) actions.chart(of);
  if (route.view === "history") loadHistory();
}

function loadHistory(): void {
  get<{ versions: Model["versions"] & object }>(withQuery("api/history", { node: model.node }))
    .then(({ versions }) => change({ versions }), tell);
}

async function carryOut(order: Order): Promise<string> {
  const { component, node } = { component: "", ...order };
  switch (order.kind) {
    case "restart": {
      const nodes = node === null ? [] : [node];
      return (await post<{ message: string }>("api/restart", { component, nodes })).message;
    }
    case "scale": {
      const replicas = order.replicas.trim() === "" ? null : Number(order.replicas);
      return (await post<{ message: string }>("api/scale", { component, replicas, node })).message;
    }
    case "drain": {
      const { drained } = order;
      return (await post<{ message: string }>("api/drain", { node, drained })).message;
    }
  }
}

const actions: Actions = {
  change,
  ask(order) {
    change({ order, notice: undefined });
  },
  confirm() {
    const { order } = model;
    if (order === undefined || model.isBusy) return;
    change({ isBusy: true });
    carryOut(order)
      .then((text) => change({ notice: { text, isBad: false } }), tell)
      .finally(() => change({ isBusy: false, order: undefined }));
  },
  seeFrom(node) {
    const isHome = node === undefined || node === home;
    change({
      node: isHome ? undefined : node,
      current: undefined,
      previous: undefined,
      samples: undefined,
      gone: undefined,
      versions: undefined,
    });
    live.start(followRealm);
    samples.start(followSamples);
    enter();
  },
  chart(component) {
    change({ samplesOf: component, samples: undefined });
    samples.start(followSamples);
  },
  pauseLog(logPaused) {
    change({ logPaused });
  },
  plan(of) {
    const body = "version" in of ? { version: of.version } : { manifest: of.manifest };
    const title = "version" in of ? `back to version ${of.version}` : of.title;
    post<Omit<Plan, "title">>("api/plan", body)
      .then((found) => change({ plan: { title, ...found } }), tell);
  },
};

/** The node that is asked where none is chosen. */
let home: string | undefined;

function logOut(reason: string): void {
  for (const task of [live, samples, log]) task.stop();
  sessionStorage.removeItem(SESSION);
  change({ session: null, refused: reason });
}

function begin(session: string): void {
  change({ session });
  live.start(followRealm);
  enter();
  get<{ signer: string | null; problem: string | null }>("api/about").then(
    ({ signer, problem }) => change({ signer, signerProblem: problem }),
    tell,
  );
}

async function logIn(): Promise<void> {
  const [, token] = /^#login=([\w-]+)$/.exec(location.hash) ?? [];
  if (token === undefined) {
    const session = sessionStorage.getItem(SESSION);
    return session === null ? draw() : begin(session);
  }
  // It is used up in a moment; nobody should find it in the address.
  history.replaceState(null, "", location.pathname);
  const body = JSON.stringify({ token });
  const response = await fetch("api/login", { method: "POST", body });
  const answer = await response.json();
  if (!response.ok) {
    return change({ refused: `${answer.error.message}. ${answer.error.hint ?? ""}` });
  }
  sessionStorage.setItem(SESSION, answer.session);
  begin(answer.session);
}

addEventListener("hashchange", () => {
  // A link that was opened in a tab that is here already.
  if (location.hash.startsWith("#login=")) logIn().catch(tell);
  else enter();
});
addEventListener("resize", () => change({ width: innerWidth }));
document.addEventListener("visibilitychange", draw);
logIn().catch(tell);
