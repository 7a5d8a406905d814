/**
 * A logger for libp2p that writes nothing and formats nothing. What an operator should know is told
 * by the network itself, once.
 *
 * @module
 */
import type { ComponentLogger, Logger } from "@libp2p/interface";

const NOTHING: Logger = Object.assign(() => {}, {
  enabled: false,
  error: () => {},
  trace: () => {},
  newScope: () => NOTHING,
});

/** For `createLibp2p({ logger })`. */
export const QUIET_LOGGER: ComponentLogger = { forComponent: () => NOTHING };
