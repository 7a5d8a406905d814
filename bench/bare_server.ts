/**
 * The least that a server on Deno can do: the ceiling of ours. `bare_server.ts PORT`.
 *
 * @module
 */
Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen: () => {} },
  () => new Response("hello\n"),
);
