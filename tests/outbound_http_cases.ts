/**
 * Cases of outbound HTTP: scripts for the fixture `http-client`, and what it prints.
 *
 * @module
 */

/** A script, and the lines it prints that say more than `ok`. */
export interface OutboundCase {
  /** `HOST` is the server's address and port. */
  readonly script: readonly string[];
  readonly gives: readonly string[];
  /** Where wasmtime prints something else: why, and what, unless that varies there. */
  readonly differs?: { readonly because: string; readonly wasmtime?: readonly string[] };
  /** Whether what the setters of the request answer counts. */
  readonly isAboutSetters?: boolean;
}

interface Shape {
  readonly method?: string;
  readonly fields?: string;
  readonly options?: string;
  readonly body?: boolean;
}

/** A request up to its `handle`. */
export function request(path: string | null, shape: Shape = {}): string[] {
  return [
    ...(shape.fields ? [`fields\t${shape.fields}`] : []),
    "new",
    ...(shape.method ? [`method\t${shape.method}`] : []),
    "scheme\tHTTP",
    "authority\tHOST",
    ...(path === null ? [] : [`path\t${path}`]),
    ...(shape.options ? [`options\t${shape.options}`] : []),
    ...(shape.body ? ["body"] : []),
    "handle",
  ];
}

const REST = ["wait", "consume", "all", "trailers"];

/** A request and everything of its response. */
export function get(path: string | null, shape: Shape = {}): string[] {
  return [...request(path, shape), ...REST];
}

function post(path: string, then: readonly string[], shape: Shape = {}): string[] {
  return [...request(path, { method: "POST", body: true, ...shape }), ...then];
}

const WRITE = ["write\thello", "finish"];
const CODE = "the code says more";
const STREAM = "the stream's error has no code there, and is not told again with the trailers";

/** By name. */
export const OUTBOUND_CASES: Readonly<Record<string, OutboundCase>> = {
  "a GET": {
    script: get("/hello"),
    gives: [
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'all: 6 "hello\\n"',
      "trailers: none",
    ],
  },
  "a HEAD": {
    script: get("/hello", { method: "HEAD" }),
    gives: [
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'all: 0 ""',
      "trailers: none",
    ],
  },
  "no content": {
    script: get("/bare"),
    gives: ['wait: 204 content-length=1 "0"', 'all: 0 ""', "trailers: none"],
  },
  "trailers of a response": {
    script: get("/trailers"),
    gives: ['wait: 200 trailer=5 "x-sum"', 'all: 5 "hello"', 'trailers: x-sum=1 "5" x-two=1 "b"'],
  },
  "trailers behind an empty body": {
    script: get("/empty-trailers"),
    gives: ["wait: 200 ", 'all: 0 ""', 'trailers: x-sum=1 "0"'],
  },
  "a body until the end of the connection": {
    script: get("/until-close"),
    gives: ["wait: 200 ", 'all: 13 "until it ends"', "trailers: none"],
  },
  "HTTP/1.0": {
    script: get("/old"),
    gives: ['wait: 200 x-old=3 "yes"', 'all: 3 "old"', "trailers: none"],
  },
  "informational responses": {
    script: get("/early-hints"),
    gives: ['wait: 200 content-length=1 "5"', 'all: 5 "final"', "trailers: none"],
  },
  "a redirect is the guest's affair": {
    script: get("/redirect"),
    gives: [
      'wait: 302 content-length=1 "0" location=29 "http://169.254.169.254/latest"',
      'all: 0 ""',
      "trailers: none",
    ],
  },
  "nothing is decompressed": {
    script: get("/gzip"),
    gives: [
      'wait: 200 content-encoding=4 "gzip" content-length=2 "12"',
      'all: 12 "not unpacked"',
      "trailers: none",
    ],
  },
  "bytes of a value as they are": {
    script: get("/odd-bytes"),
    gives: [
      'wait: 200 content-length=1 "0" x-case=4 "Kept" x-odd=2 "��"',
      'all: 0 ""',
      "trailers: none",
    ],
  },
  "no cookie is kept": {
    script: [...get("/cookie"), ...get("/cookie")],
    gives: [
      'wait: 200 content-length=1 "4" set-cookie=3 "a=1" set-cookie=3 "b=2"',
      'all: 4 "none"',
      "trailers: none",
      'wait: 200 content-length=1 "4" set-cookie=3 "a=1" set-cookie=3 "b=2"',
      'all: 4 "none"',
      "trailers: none",
    ],
  },
  "headers of a request": {
    script: get("/request", { fields: "x-a=1\tX-B=2\tx-a=3" }),
    gives: [
      'wait: 200 content-length=2 "55"',
      'all: 55 "GET /request|host: 127.0.0.1:PORT|x-a: 1|x-a: 3|x-b: 2|"',
      "trailers: none",
    ],
  },
  "a method of its own": {
    script: get("/request", { method: "PURGE" }),
    gives: [
      'wait: 200 content-length=2 "36"',
      'all: 36 "PURGE /request|host: 127.0.0.1:PORT|"',
      "trailers: none",
    ],
  },
  "a DELETE": {
    script: get("/request", { method: "DELETE" }),
    gives: [
      'wait: 200 content-length=2 "37"',
      'all: 37 "DELETE /request|host: 127.0.0.1:PORT|"',
      "trailers: none",
    ],
  },
  "a path that is not ASCII": {
    script: get("/request?ü=%zz"),
    gives: [
      'wait: 200 content-length=2 "41"',
      'all: 41 "GET /request?ü=%zz|host: 127.0.0.1:PORT|"',
      "trailers: none",
    ],
  },
  "an empty path": {
    script: get(""),
    gives: ['wait: 404 content-length=2 "13"', 'all: 13 "no such path\\n"', "trailers: none"],
  },
  "a path of a query": {
    script: get("?a=b"),
    gives: ['wait: 404 content-length=2 "13"', 'all: 13 "no such path\\n"', "trailers: none"],
  },
  "no path": {
    script: get(null),
    gives: ['wait: 404 content-length=2 "13"', 'all: 13 "no such path\\n"', "trailers: none"],
    differs: {
      because: "the interface says that no path is an empty one",
      wasmtime: ["handle: !ErrorCode::HttpProtocolError"],
    },
  },
  "a chunked body": {
    script: post("/request", [...WRITE, ...REST]),
    gives: [
      'wait: 200 content-length=2 "67"',
      'all: 67 "POST /request|host: 127.0.0.1:PORT|transfer-encoding: chunked|hello"',
      "trailers: none",
    ],
  },
  "a body of known length": {
    script: post("/request", [...WRITE, ...REST], { fields: "content-length=5" }),
    gives: [
      'wait: 200 content-length=2 "58"',
      'all: 58 "POST /request|content-length: 5|host: 127.0.0.1:PORT|hello"',
      "trailers: none",
    ],
  },
  "an empty body": {
    script: post("/request", ["finish", ...REST]),
    gives: [
      'wait: 200 content-length=2 "62"',
      'all: 62 "POST /request|host: 127.0.0.1:PORT|transfer-encoding: chunked|"',
      "trailers: none",
    ],
  },
  "a POST without a body": {
    script: get("/request", { method: "POST" }),
    gives: [
      'wait: 200 content-length=2 "53"',
      'all: 53 "POST /request|content-length: 0|host: 127.0.0.1:PORT|"',
      "trailers: none",
    ],
    differs: {
      because: "RFC 9110, section 8.6: it says that it has none",
      wasmtime: [
        'wait: 200 content-length=2 "35"',
        'all: 35 "POST /request|host: 127.0.0.1:PORT|"',
        "trailers: none",
      ],
    },
  },
  "a GET whose body is not announced": {
    script: post("/request", ["finish", ...REST], { method: "GET" }),
    gives: [
      'wait: 200 content-length=2 "34"',
      'all: 34 "GET /request|host: 127.0.0.1:PORT|"',
      "trailers: none",
    ],
  },
  "a GET with a body": {
    script: post("/request", [...WRITE, ...REST], { method: "GET", fields: "content-length=5" }),
    gives: [
      'wait: 200 content-length=2 "57"',
      'all: 57 "GET /request|content-length: 5|host: 127.0.0.1:PORT|hello"',
      "trailers: none",
    ],
  },
  "trailers of a request": {
    script: post("/request", ["write\thello", "finish\tx-sum=5\tx-two=2", ...REST], {
      fields: "trailer=x-sum, x-two",
    }),
    gives: [
      'wait: 200 content-length=3 "123"',
      'all: 123 "POST /request|host: 127.0.0.1:PORT|trailer x-sum: 5|trailer x-two: 2|trailer: x-sum, x-two|transfer-encoding: chunked|hello"',
      "trailers: none",
    ],
  },
  "trailers that were not announced": {
    script: post("/request", ["write\thello", "finish\tx-sum=5", ...REST]),
    gives: [
      'wait: 200 content-length=2 "84"',
      'all: 84 "POST /request|host: 127.0.0.1:PORT|trailer x-sum: 5|transfer-encoding: chunked|hello"',
      "trailers: none",
    ],
    differs: {
      because: "they are sent all the same",
      wasmtime: [
        'wait: 200 content-length=2 "67"',
        'all: 67 "POST /request|host: 127.0.0.1:PORT|transfer-encoding: chunked|hello"',
        "trailers: none",
      ],
    },
  },
  "Expect": {
    script: post("/request", [...WRITE, ...REST], { fields: "expect=100-continue" }),
    gives: [
      'wait: 200 content-length=2 "88"',
      'all: 88 "POST /request|expect: 100-continue|host: 127.0.0.1:PORT|transfer-encoding: chunked|hello"',
      "trailers: none",
    ],
  },
  "both bodies at once": {
    script: post("/echo", [
      "wait",
      "consume",
      "write\thello",
      "read\t100",
      "fill\t100000",
      "finish",
      "all",
      "trailers",
    ]),
    gives: ["wait: 200 ", 'read: 5 "hello"', "all: 100000 #acdd2a56", "trailers: none"],
  },
  "an answer before the body": {
    script: post("/early", ["wait", "consume", "read\t100", ...WRITE, "all", "trailers"]),
    gives: ["wait: 200 ", 'read: 6 "first "', 'all: 5 "hello"', "trailers: none"],
  },
  "a request's body that is too short": {
    script: post("/request", ["write\thel", "finish", "wait"], { fields: "content-length=5" }),
    gives: [
      "finish: !ErrorCode::HttpRequestBodySize(Some(3))",
      "wait: !ErrorCode::HttpRequestBodySize(Some(3))",
    ],
    differs: {
      because: "the response has the same error as `finish`",
      wasmtime: [
        "finish: !ErrorCode::HttpRequestBodySize(Some(3))",
        "wait: !ErrorCode::HttpProtocolError",
      ],
    },
  },
  "a request's body that is too long": {
    script: post("/request", ["write\thello world", "finish", "wait"], {
      fields: "content-length=5",
    }),
    gives: [
      "write: !failed ErrorCode::HttpRequestBodySize(Some(11))",
      "finish: !ErrorCode::HttpRequestBodySize(Some(11))",
      "wait: !ErrorCode::HttpRequestBodySize(Some(11))",
    ],
    differs: { because: "it varies with what was sent before the error" },
  },
  "a length without a body": {
    script: request("/request", { method: "POST", fields: "content-length=5" }),
    gives: ["handle: !ErrorCode::HttpRequestBodySize(Some(0))"],
  },
  "a request's body that is dropped": {
    script: post("/request", ["write\thello", "drop-body", "wait"]),
    gives: ["wait: !ErrorCode::HttpProtocolError"],
  },
  "a server that refuses the body": {
    script: post("/refuses-body", ["wait", "consume", "sleep\t100", "fill\t3000000", "all"]),
    gives: ['wait: 413 content-length=1 "2"', "fill: !closed", 'all: 2 "no"'],
    differs: { because: "it varies with whether the connection is reset first" },
  },
  "a connection that is closed": {
    script: [...request("/closes"), "wait"],
    gives: ["wait: !ErrorCode::ConnectionTerminated"],
    differs: { because: CODE, wasmtime: ["wait: !ErrorCode::HttpProtocolError"] },
  },
  "half a head": {
    script: [...request("/cut-head"), "wait"],
    gives: ["wait: !ErrorCode::HttpResponseIncomplete"],
    differs: { because: CODE, wasmtime: ["wait: !ErrorCode::HttpProtocolError"] },
  },
  "another protocol": {
    script: [...request("/garbage"), "wait"],
    gives: ["wait: !ErrorCode::HttpProtocolError"],
  },
  "a length that is no number": {
    script: [...request("/bad-length"), "wait"],
    gives: ["wait: !ErrorCode::HttpProtocolError"],
  },
  "a name with a space": {
    script: [...request("/bad-header"), "wait"],
    gives: ["wait: !ErrorCode::HttpProtocolError"],
  },
  "a length and chunks": {
    script: [...request("/two-lengths"), "wait"],
    gives: ["wait: !ErrorCode::HttpProtocolError"],
    differs: {
      because: "RFC 9112, section 6.3: it may be an attempt at smuggling",
      wasmtime: ['wait: 200 content-length=1 "5"'],
    },
  },
  "a coding that nobody asked for": {
    script: [...request("/coded"), "wait"],
    gives: ['wait: !ErrorCode::HttpResponseTransferCoding(Some("gzip, chunked"))'],
    differs: {
      because: "the guest would take what is coded for the body",
      wasmtime: ["wait: 200 "],
    },
  },
  "switched protocols": {
    script: [...request("/switch"), "wait"],
    gives: ["wait: !ErrorCode::HttpUpgradeFailed"],
    differs: { because: "nobody asked for it", wasmtime: ["wait: 101 "] },
  },
  "a huge header": {
    script: [...request("/huge-header"), "wait"],
    gives: ["wait: !ErrorCode::HttpResponseHeaderSectionSize(Some(131085))"],
    differs: {
      because: "128 KiB of headers are all there may be",
      wasmtime: ['wait: 200 content-length=1 "0" x-huge=200000 #00000000'],
    },
  },
  "many headers": {
    script: [...request("/many-headers"), "wait"],
    gives: ["wait: !ErrorCode::HttpResponseHeaderSectionSize(Some(131078))"],
    differs: { because: CODE, wasmtime: ["wait: !ErrorCode::HttpProtocolError"] },
  },
  "huge trailers": {
    script: get("/huge-trailers"),
    gives: [
      "wait: 200 ",
      'all: !failed ErrorCode::HttpResponseTrailerSectionSize(Some(163810)) after 5 "hello"',
      "trailers: !ErrorCode::HttpResponseTrailerSectionSize(Some(163810))",
    ],
    differs: {
      because: STREAM,
      wasmtime: ["wait: 200 ", 'all: !failed after 5 "hello"', "trailers: none"],
    },
  },
  "a truncated body": {
    script: get("/truncated"),
    gives: [
      'wait: 200 content-length=2 "10"',
      'all: !failed ErrorCode::HttpResponseIncomplete after 5 "half."',
      "trailers: !ErrorCode::HttpResponseIncomplete",
    ],
    differs: {
      because: STREAM,
      wasmtime: [
        'wait: 200 content-length=2 "10"',
        'all: !failed after 5 "half."',
        "trailers: none",
      ],
    },
  },
  "a truncated body that is not read": {
    script: [...request("/truncated"), "wait", "consume", "trailers"],
    gives: ['wait: 200 content-length=2 "10"', "trailers: !ErrorCode::HttpResponseIncomplete"],
    differs: {
      because: CODE,
      wasmtime: ['wait: 200 content-length=2 "10"', "trailers: !ErrorCode::HttpProtocolError"],
    },
  },
  "truncated chunks": {
    script: get("/truncated-chunks"),
    gives: [
      "wait: 200 ",
      'all: !failed ErrorCode::HttpResponseIncomplete after 8 "half.hal"',
      "trailers: !ErrorCode::HttpResponseIncomplete",
    ],
    differs: {
      because: STREAM,
      wasmtime: ["wait: 200 ", 'all: !failed after 8 "half.hal"', "trailers: none"],
    },
  },
  "a chunk size that is none": {
    script: get("/bad-chunk"),
    gives: [
      "wait: 200 ",
      'all: !failed ErrorCode::HttpProtocolError after 4 "good"',
      "trailers: !ErrorCode::HttpProtocolError",
    ],
    differs: {
      because: STREAM,
      wasmtime: ["wait: 200 ", 'all: !failed after 4 "good"', "trailers: none"],
    },
  },
  "first-byte-timeout": {
    script: [...request("/never", { options: "-\t100\t-" }), "wait"],
    gives: [
      "options: [Ok(()), Ok(()), Ok(())] [None, Some(100000000), None]",
      "wait: !ErrorCode::ConnectionReadTimeout",
    ],
  },
  "first-byte-timeout of a head that does not end": {
    script: [...request("/slow-head", { options: "-\t150\t-" }), "wait"],
    gives: [
      "options: [Ok(()), Ok(()), Ok(())] [None, Some(150000000), None]",
      "wait: !ErrorCode::ConnectionReadTimeout",
    ],
  },
  "between-bytes-timeout": {
    script: get("/stalls", { options: "-\t-\t100" }),
    gives: [
      "options: [Ok(()), Ok(()), Ok(())] [None, None, Some(100000000)]",
      'wait: 200 content-length=2 "10"',
      'all: !failed ErrorCode::ConnectionReadTimeout after 5 "half."',
      "trailers: !ErrorCode::ConnectionReadTimeout",
    ],
    differs: {
      because: STREAM,
      wasmtime: [
        "options: [Ok(()), Ok(()), Ok(())] [None, None, Some(100000000)]",
        'wait: 200 content-length=2 "10"',
        'all: !failed after 5 "half."',
        "trailers: none",
      ],
    },
  },
  "between-bytes-timeout of a body that is not read": {
    script: [...request("/stalls", { options: "-\t-\t100" }), "wait", "consume", "trailers"],
    gives: [
      "options: [Ok(()), Ok(()), Ok(())] [None, None, Some(100000000)]",
      'wait: 200 content-length=2 "10"',
      "trailers: !ErrorCode::ConnectionReadTimeout",
    ],
  },
  "a response is got once": {
    script: [...request("/hello"), "wait", "get"],
    gives: ['wait: 200 content-length=1 "6" content-type=10 "text/plain"', "get: !taken"],
  },
  "a response is consumed once, its headers are immutable": {
    script: [...request("/hello"), "wait", "response", "consume", "consume"],
    gives: [
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'response: 200 content-length=1 "6" content-type=10 "text/plain" then Err(HeaderError::Immutable)',
      "consume: !",
    ],
  },
  "a request has one body, its headers are immutable": {
    script: ["fields\ta=1", "new", "body", "body", "headers"],
    gives: ["body: !", 'headers: a=1 "1" then Err(HeaderError::Immutable)'],
  },
  "100 MiB, a piece at a time": {
    script: get("/bomb"),
    gives: ["wait: 200 ", "all: 104857600 #00000000", "trailers: none"],
  },
  "a future that is dropped": {
    script: [...request("/never"), "drop\tfuture", ...get("/hello")],
    gives: [
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'all: 6 "hello\\n"',
      "trailers: none",
    ],
  },
  "a response that is dropped": {
    script: [...request("/bomb"), "wait", "drop\tresponse", "drop\tfuture", ...get("/hello")],
    gives: [
      "wait: 200 ",
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'all: 6 "hello\\n"',
      "trailers: none",
    ],
  },
  "a body that is dropped": {
    script: [
      ...request("/bomb"),
      "wait",
      "consume",
      "read\t10",
      "drop\tincoming",
      ...get("/hello"),
    ],
    gives: [
      "wait: 200 ",
      'read: 10 "\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0"',
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'all: 6 "hello\\n"',
      "trailers: none",
    ],
  },
  "more than was promised": {
    script: [...get("/more"), ...get("/hello")],
    gives: [
      'wait: 200 content-length=1 "5"',
      'all: 5 "hello"',
      "trailers: none",
      'wait: 200 content-length=1 "6" content-type=10 "text/plain"',
      'all: 6 "hello\\n"',
      "trailers: none",
    ],
    differs: {
      because: "the response itself is whole",
      wasmtime: ["wait: !ErrorCode::HttpProtocolError"],
    },
  },
  "no authority": {
    script: ["new", "scheme\tHTTP", "path\t/hello", "handle"],
    gives: ["handle: !ErrorCode::HttpRequestUriInvalid"],
  },
  "another scheme": {
    script: ["new", "scheme\tftp", "authority\tHOST", "path\t/", "handle"],
    gives: ["handle: !ErrorCode::HttpProtocolError"],
  },
  "CONNECT": {
    script: ["new", "method\tCONNECT", "scheme\tHTTP", "authority\tHOST", "path\t/", "handle"],
    gives: ["handle: !ErrorCode::HttpRequestMethodInvalid"],
    differs: { because: "a tunnel cannot be used through the interface", wasmtime: [] },
  },
  "a user in the authority": {
    script: ["new", "scheme\tHTTP", "authority\tme:pw@HOST", "path\t/", "handle", "wait"],
    gives: ["wait: !ErrorCode::HttpRequestUriInvalid"],
    differs: {
      because: "RFC 9110, section 4.2.4",
      wasmtime: [
        'wait: !ErrorCode::DnsError(DnsErrorPayload { rcode: Some("address not available"), info-code: None })',
      ],
    },
  },
  "a port that is none": {
    script: ["new", "scheme\tHTTP", "authority\t127.0.0.1:99999", "path\t/", "handle", "wait"],
    gives: ["wait: !ErrorCode::HttpRequestUriInvalid"],
    differs: {
      because: "no name was looked up",
      wasmtime: [
        'wait: !ErrorCode::DnsError(DnsErrorPayload { rcode: Some("address not available"), info-code: None })',
      ],
    },
  },
  "authorities": {
    script: [
      "new",
      "authority\thost:80",
      "authority\t[::1]:80",
      "authority\t-",
      "authority\ta_b.c",
      "authority\t127.1",
      "authority\t",
      "authority\thö.st",
      "authority\ta b",
      "authority\ta/b",
      "authority\t[::1",
      "authority\ta:b:c",
      "authority\ta%20b",
      'authority\ta"b',
    ],
    gives: [
      'authority: Some("host:80")',
      'authority: Some("[::1]:80")',
      "authority: None",
      'authority: Some("a_b.c")',
      'authority: Some("127.1")',
      "authority: !",
      "authority: !",
      "authority: !",
      "authority: !",
      "authority: !",
      "authority: !",
      "authority: !",
      "authority: !",
    ],
    isAboutSetters: true,
  },
  "paths": {
    script: [
      "new",
      "path\t/a?b?c",
      "path\t/ü",
      "path\t-",
      "path\ta",
      "path\t/a b",
      "path\t*",
      "path\thttp://x/y",
    ],
    gives: [
      'path: Some("/a?b?c")',
      'path: Some("/ü")',
      "path: None",
      "path: !",
      "path: !",
      "path: !",
      "path: !",
    ],
    isAboutSetters: true,
  },
  "methods": {
    script: [
      "new",
      "method\tGET",
      "method\tHEAD",
      "method\tPOST",
      "method\tPUT",
      "method\tDELETE",
      "method\tCONNECT",
      "method\tOPTIONS",
      "method\tTRACE",
      "method\tPATCH",
      "method\tget",
      "method\tM-1",
      "method\tBAD METHOD",
      "method\t",
    ],
    gives: [
      "method: Method::Get",
      "method: Method::Head",
      "method: Method::Post",
      "method: Method::Put",
      "method: Method::Delete",
      "method: Method::Connect",
      "method: Method::Options",
      "method: Method::Trace",
      "method: Method::Patch",
      'method: Method::Other("get")',
      'method: Method::Other("M-1")',
      "method: !",
      "method: !",
    ],
    isAboutSetters: true,
  },
  "schemes": {
    script: ["new", "scheme\tHTTP", "scheme\tHTTPS", "scheme\tftp", "scheme\t-", "scheme\ta b"],
    gives: [
      "scheme: Some(Scheme::Http)",
      "scheme: Some(Scheme::Https)",
      'scheme: Some(Scheme::Other("ftp"))',
      "scheme: None",
      "scheme: !",
    ],
    isAboutSetters: true,
  },
  "forbidden and wrong headers": {
    script: [
      "fields\tconnection=x",
      "fields\thost=x",
      "fields\ttransfer-encoding=x",
      "fields\tupgrade=x",
      "fields\tkeep-alive=x",
      "fields\tproxy-connection=x",
      "fields\tbad name=1",
      "fields\tcontent-length=x",
      "fields\tte=trailers",
    ],
    gives: [
      "fields: !connection HeaderError::Forbidden",
      "fields: !host HeaderError::Forbidden",
      "fields: !transfer-encoding HeaderError::Forbidden",
      "fields: !upgrade HeaderError::Forbidden",
      "fields: !keep-alive HeaderError::Forbidden",
      "fields: !proxy-connection HeaderError::Forbidden",
      "fields: !bad name HeaderError::InvalidSyntax",
      "fields: !content-length HeaderError::InvalidSyntax",
    ],
  },
};
