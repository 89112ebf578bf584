/** Serves a plugin, from its start to its end. */

import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { hostname } from "node:os";
import { credentials } from "@grpc/grpc-js";
import type { Manifest } from "../api/forgemesh/api/plugin/v1/manifest.js";
import { Instance, InstanceState } from "../api/forgemesh/api/registry/v1/instance.js";
import { HostPhase } from "../api/forgemesh/api/supervisor/v1/host.js";
import { Attachment, SDK } from "./attachment.js";
import { Configured, HostFailed } from "./configured.js";
import { textOf } from "./failure.js";
import { Host } from "./host.js";
import { Identity } from "./identity.js";
import { LoadMeter } from "./load.js";
import type { Served } from "./plugin.js";
import { Ports } from "./ports.js";
import { Registration } from "./registration.js";
import { Sessions } from "./session.js";
import { completed, type Settings, settingsOf } from "./settings.js";
import { Spans } from "./spans.js";

const EXIT_CANNOT_START = 1;
const EXIT_ORPHANED = 3;
const ORPHAN_LIMIT = 1750;
/** Milliseconds that running calls have whose supervisor is gone. */
const ORPHAN_GRACE = 500;
const FAREWELL = 1000;

/** What is told of a host that serves. */
export interface Serving {
  address: string;
  healthAddress: string;
}

export interface ServeOptions {
  /** Ends the host: what runs has the grace. */
  signal?: AbortSignal;
  /** Is told once it serves. */
  onServing?: (serving: Serving) => void;
}

/**
 * Serves the plugin as the environment says, until the process is told to end (SIGTERM, SIGINT) or its supervisor is gone.
 * What keeps it from serving is written to standard error, and the process ends with 1.
 */
export async function main(plugin: Served): Promise<never> {
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) {
    process.once(name, () => stop.abort());
  }
  try {
    const settings = settingsOf(process.env);
    endWithoutParent(settings.reattach ?? false);
    await serve(plugin, settings, { signal: stop.signal });
  } catch (error) {
    process.stderr.write(`error: ${textOf(error)}\n`);
    process.exit(EXIT_CANNOT_START);
  }
  process.exit(0);
}

/**
 * Serves the plugin until the signal aborts, lets what runs end within the grace, and returns then. Otherwise it throws what
 * keeps the plugin from serving.
 */
export async function serve(plugin: Served, given: Partial<Settings> = {}, options: ServeOptions = {}): Promise<void> {
  const settings = completed(given, plugin.id);
  if (settings.supervisor === "") {
    const manifest = plugin.manifest();
    const config = settings.config === "" ? "" : readFileSync(settings.config, "utf8");
    await serveStarted(await Configured.begin(plugin, config, 0n), manifest, settings, options, undefined);
    return;
  }
  let manifest: Manifest | undefined;
  let mistake: unknown;
  try {
    manifest = plugin.manifest();
  } catch (error) {
    mistake = error;
  }
  const attachment = new Attachment(settings, manifest);
  try {
    if (manifest === undefined) {
      throw mistake;
    }
    await serveAttached(plugin, manifest, settings, options, attachment);
  } catch (error) {
    attachment.fail(error instanceof HostFailed ? error.phase : HostPhase.HOST_PHASE_HANDSHAKE, textOf(error));
    throw error;
  } finally {
    await attachment.close(FAREWELL);
  }
}

async function serveAttached(
  plugin: Served,
  manifest: Manifest,
  settings: Settings,
  options: ServeOptions,
  attachment: Attachment,
): Promise<void> {
  const initialize = await Promise.race([attachment.initialized, aborted(options.signal)]);
  if (initialize === undefined) {
    return; // it was stopped while it waited
  }
  const run = await Configured.begin(plugin, initialize.config, initialize.configRevision, initialize.state);
  await serveStarted(run, manifest, settings, options, attachment);
}

/** Opens the ports, registers, and goes on until the signal aborts or the host is not wanted. */
async function serveStarted(
  run: Configured,
  manifest: Manifest,
  settings: Settings,
  { signal, onServing }: ServeOptions,
  attachment: Attachment | undefined,
): Promise<void> {
  const { plugin } = run;
  const identity = new Identity(settings.instanceId);
  const spans = new Spans(plugin, identity.instanceId, settings.traces);
  const host = new Host(plugin, identity, settings.queue, spans, settings.log);
  const sessions = new Sessions(host, settings.supervisor !== "" && settings.registry !== "");
  const load = new LoadMeter(host);
  const ports = new Ports(host, sessions, load, manifest);
  let registration: Registration | undefined;
  const end = aborted(signal);
  try {
    await ports.open(settings).catch((error: unknown) => {
      throw new HostFailed(HostPhase.HOST_PHASE_INIT, textOf(error));
    });
    const ready = () => ({
      address: ports.address,
      healthAddress: ports.healthAddress,
      incarnation: identity.incarnation,
      configRevision: run.revision,
    });
    if (settings.registry !== "") {
      const instance = instanceOf(host, ports, settings);
      const told = () => attachment?.serving(ready);
      const secret = credentials.createInsecure();
      registration = new Registration(secret, settings, manifest, instance, identity, load, told);
      await Promise.race([registration.first, end]).catch((error: unknown) => {
        throw new HostFailed(HostPhase.HOST_PHASE_HEALTH, textOf(error));
      });
    }
    if (!signal?.aborted) {
      ports.ready(true);
      settings.log("info", "serving", { address: ports.address, instance_id: identity.instanceId });
      attachment?.serving(ready);
      attachment?.obey(run, load);
      onServing?.(ports);
    }
    const orphaned = await over(end, attachment, registration);
    if (orphaned !== "") {
      settings.log("warn", "this host ends", { error: orphaned });
      setTimeout(() => process.exit(EXIT_ORPHANED), ORPHAN_LIMIT).unref();
    }
    await leave(host, sessions, ports, registration, orphaned === "" ? settings.grace : ORPHAN_GRACE);
  } finally {
    registration?.close();
    await ports.close();
    load.close();
    await stopped(run, settings);
    await Promise.race([spans.close(), aborted(AbortSignal.timeout(FAREWELL))]);
  }
}

/** Until the host is to end: empty if it was told to, else why the supervisor is gone. Throws if the registry refuses it. */
async function over(
  end: Promise<undefined>,
  attachment: Attachment | undefined,
  registration: Registration | undefined,
): Promise<string> {
  const ends: Promise<string>[] = [end.then(() => "")];
  if (attachment !== undefined) {
    ends.push(attachment.gone);
  }
  if (registration !== undefined) {
    ends.push(registration.hopeless);
  }
  return await Promise.race(ends).catch((error: unknown) => {
    throw new HostFailed(HostPhase.HOST_PHASE_SERVING, textOf(error));
  });
}

/** Says that nothing new is to come, then lets what runs end. */
async function leave(
  host: Host,
  sessions: Sessions,
  ports: Ports,
  registration: Registration | undefined,
  grace: number,
): Promise<void> {
  const until = performance.now() + grace;
  ports.ready(false);
  await registration?.leave({ drain: true });
  sessions.drain();
  if (!(await host.drain(Math.max(0, until - performance.now())))) {
    host.log("warn", "calls still run after the grace, cutting them off", { grace_seconds: grace / 1000 });
  }
  await registration?.leave({ drain: false });
}

async function stopped({ plugin }: Configured, { log }: Settings): Promise<void> {
  try {
    await plugin.options.stop?.();
  } catch (error) {
    log("error", "the plugin did not stop as it should", { error });
  }
}

function aborted(signal: AbortSignal | undefined): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve(undefined);
    }
    signal?.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

function instanceOf({ plugin, identity, capacity }: Host, ports: Ports, settings: Settings): Instance {
  const labels: Record<string, string> = { pid: String(process.pid), host: hostname(), sdk: SDK };
  for (const name of ["name", "tenure"] as const) {
    if (settings[name] !== "") {
      labels[name] = settings[name];
    }
  }
  return Instance.fromPartial({
    instanceId: identity.instanceId,
    pluginId: plugin.id,
    pluginVersion: plugin.version,
    address: ports.address,
    healthAddress: ports.healthAddress,
    maxInFlight: capacity,
    weight: plugin.options.weight ?? 0,
    labels,
    session: true,
    state: InstanceState.INSTANCE_STATE_ACTIVE,
  });
}

/** Watches the pipe of the process that started this one: when it breaks, this process ends soon, come what may. */
function endWithoutParent(reattach: boolean): void {
  const descriptor = Number(process.env.FORGEMESH_PARENT_FD ?? "");
  delete process.env.FORGEMESH_PARENT_FD;
  if (!Number.isInteger(descriptor) || descriptor < 3) {
    return;
  }
  const pipe = new Socket({ fd: descriptor, readable: true, writable: false });
  if (reattach) {
    pipe.destroy(); // another parent is going to be found
    return;
  }
  pipe.on("error", () => {});
  pipe.on("close", () => {
    process.kill(process.pid, "SIGTERM");
    setTimeout(() => process.exit(EXIT_ORPHANED), ORPHAN_LIMIT);
  });
  pipe.resume();
  pipe.unref();
}
