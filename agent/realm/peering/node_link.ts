/**
 * A link with another node, as the peer core sees it.
 *
 * @module
 */
import { Link } from "../../kernel/peering/link.ts";
import type { Hello } from "./frame.ts";

/** See the module. */
export class NodeLink extends Link {
  /** What the peer said first. */
  override hello: Hello | undefined = undefined;
  /** `pending` was said. */
  saidPending = false;
  heardPending = false;
  /** An approval was shown: by this side, by the peer, and believed. */
  saidVouch = false;
  heardVouch = false;
  isVouched = false;
}
