/** The two ports that a host listens on: one for calls, one for health and load alone. */

import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import type { Manifest } from "../api/forgemesh/api/plugin/v1/manifest.js";
import { PluginServiceService } from "../api/forgemesh/api/plugin/v1/plugin_service.js";
import type { Host } from "./host.js";
import type { LoadMeter } from "./load.js";
import { pluginService } from "./service.js";
import type { Sessions } from "./session.js";
import type { Settings } from "./settings.js";

/** Those under which health is asked for, beside liveness and startup. */
const SERVING_NAMES = ["", "readiness", "forgemesh.api.plugin.v1.PluginService"];
const MESSAGE_LIMIT = 4 << 20;
/** Milliseconds that the answers of finished calls have to leave the process. */
const LAST_RESPONSES = 500;

export class Ports {
  readonly #health = new HealthImplementation({ liveness: "SERVING", startup: "NOT_SERVING" });
  // A server of grpc-js takes as many pings as come: the mesh sends one every five seconds.
  readonly #main = new Server({
    "grpc.max_receive_message_length": MESSAGE_LIMIT,
    "grpc.max_send_message_length": MESSAGE_LIMIT,
  });
  readonly #beside = new Server();
  address = "";
  healthAddress = "";

  constructor(host: Host, sessions: Sessions, load: LoadMeter, manifest: Manifest) {
    this.#main.addService(PluginServiceService, pluginService(host, sessions, load, manifest));
    for (const server of [this.#main, this.#beside]) {
      this.#health.addToServer(server);
      load.recorder.addToServer(server);
    }
    this.ready(false);
  }

  /** Listens; rejects with why it cannot. */
  async open({ listen, healthListen, advertise }: Settings): Promise<void> {
    this.address = reachable(listen, await bound(this.#main, listen), advertise);
    this.healthAddress = reachable(healthListen, await bound(this.#beside, healthListen), advertise);
  }

  /** Says whether calls are to come here. */
  ready(isReady: boolean): void {
    for (const name of SERVING_NAMES) {
      this.#health.setStatus(name, isReady ? "SERVING" : "NOT_SERVING");
    }
    if (isReady) {
      this.#health.setStatus("startup", "SERVING"); // and once for all
    }
  }

  /** Lets the last answers leave. */
  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      const impatience = setTimeout(resolve, LAST_RESPONSES);
      this.#main.tryShutdown(() => {
        clearTimeout(impatience);
        resolve();
      });
    });
    this.#main.forceShutdown();
    this.#beside.forceShutdown();
  }
}

function bound(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(new Error(`cannot listen on ${address}: ${error.message}`)),
    );
  });
}

function reachable(listen: string, port: number, advertise: string): string {
  return `${advertise || listen.slice(0, listen.lastIndexOf(":"))}:${port}`;
}
