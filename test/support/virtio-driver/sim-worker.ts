import { workerData } from "node:worker_threads";
import type { SimLink } from "../../../src/hw/sim/link.ts";
import type { SimOptions } from "../../../src/hw/sim/sim-options.ts";
import { runSimWorker } from "../../../src/hw/sim/worker.ts";
import { CollectedLog } from "./collected-log.ts";

const { link, options } = workerData as { link: SimLink; options: SimOptions };
runSimWorker(link, options, new CollectedLog());
