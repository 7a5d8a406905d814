import { startLibp2p } from "./libp2p_network.ts";
import { testNetwork } from "./network_conformance.ts";

/** A seed that no other test has. */
const seed = () => crypto.getRandomValues(new Uint8Array(32));

/** libp2p uses `AbortSignal.timeout` much, whose timers end by themselves and hold nothing up. */
const options = { sanitizeOps: false, sanitizeResources: false };

testNetwork("libp2p network", () => ({
  start: (gate) => startLibp2p({ secretKey: seed(), listen: ["/ip4/127.0.0.1/tcp/0"], gate }),
  // Port 1 of loopback: nobody listens there.
  nowhere: "/ip4/127.0.0.1/tcp/1",
}), options);
