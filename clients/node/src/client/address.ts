/** Where the orchestrator is, if nobody says it. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const DEFAULT_ADDRESS = "127.0.0.1:7401";

/**
 * FORGEMESH_ADDRESS, the mesh whose data directory (.forgemesh) is nearest to the working directory, or 127.0.0.1:7401.
 */
export function findAddress(): string {
  const said = process.env.FORGEMESH_ADDRESS;
  if (said) {
    return said;
  }
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const address = meshIn(folder);
    if (address !== undefined) {
      return address;
    }
    if (folder === dirname(folder)) {
      return DEFAULT_ADDRESS;
    }
  }
}

function meshIn(folder: string): string | undefined {
  try {
    const mesh = JSON.parse(readFileSync(join(folder, ".forgemesh", "mesh.json"), "utf8"));
    return mesh.services.orchestrator.address;
  } catch {
    return undefined;
  }
}
