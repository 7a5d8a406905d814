/**
 * The export by which a component says how it is: `wit/realm-health-0.1.0`, for
 * `health = { export = true }` in a manifest.
 *
 * It is called as a request is: by {@link HandlerRequest} with the method {@link CHECK}, so that
 * metering, limits, time-outs and isolation are those of every request. The answer has status 200,
 * or 503 with the component's reason.
 *
 * @module
 */

/** The interface with its version, as a component exports it. */
export const HEALTH_EXPORT = "realm:health/check@0.1.0";

/** Its one function, as WIT has it. */
export const HEALTH_FUNCTION = "check: func() -> result<_, string>";

/**
 * The method of a request that is none. Nobody can send it: the method of a request has one
 * character or more (RFC 9110, section 9.1), and whoever reads one checks that.
 */
export const CHECK = "";

/** Of a reason so much is read, in bytes. */
export const REASON_BYTES_MAX = 300;
