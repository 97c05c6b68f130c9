// A host of perto's functions in the browser: WebAssembly guests of the http-wasm
// http_handler ABI (https://http-wasm.io/http-handler-abi/) and of perto's own
// imports, with the semantics of the Go host (package functions).
//
//	const guest = await load(bytes, {config: "hello", kv: {BR: "BRL"}});
//	const request = {method: "GET", uri: "/a", headers: [["Accept", "*/*"]]};
//	const response = await guest.handle(request, next);
//
// Guests are synchronous, but next is asynchronous. It runs between handle_request and
// handle_response. An instance handles one request at a time. Concurrent requests use
// several instances.

// Kinds of header fields. The first two are also kinds of bodies.
const REQUEST = 0, RESPONSE = 1, REQUEST_TRAILERS = 2, RESPONSE_TRAILERS = 3;

const ALL_FEATURES = 1 | 2; // buffer the request, buffer the response; trailers are not supported
const LEVELS = {"-1": "debug", 0: "info", 1: "warn", 2: "error"};
const FETCH_FAILED = -1, FETCH_LIMITED = -2;

// Limits of one request.
const MAX_RESPONSE = 4 << 20, MAX_LOG = 8 << 10, MAX_LINES = 64, MAX_SUBREQUESTS = 4, MAX_FIELDS = 256, MAX_NAME = 256, MAX_VALUE = 16 << 10;

// Valid parts of a request line. A method is a token except CONNECT and TRACE. A target
// has the bytes that the edge accepts. A URI is path and query, or the "*" of OPTIONS.
const METHOD = /^(?!(?:CONNECT|TRACE)$)[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
const TARGET = /^[!$-;=?-[\]-~]+$/;
const URI = /^(?:\*|\/[!$-;=?-[\]-~]*)$/;
const NO_BODY = new Set([204, 205, 304]);
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/; // not allowed in field values (RFC 9110, section 5.5)

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", {ignoreBOM: true});

// load compiles a module and returns an object. The handle of the object runs the
// module. All options may be omitted:
//
//	config  the result of get_config: text or bytes
//	kv      an object with the values for kv_get
//	info    the result of edge_info: {name, pop, city, country, placement}
//	client  the result of client_info: {address, city, country, lat, lon}; also its port
//	fetch   (uri) => {status, body}: a synchronous subrequest; it fails without a result
//	log     (level, text) => …; level is "debug", "info", "warn" or "error"
//
// Errors name the missing exports of the module.
export async function load(bytes, options = {}) {
	const module = await WebAssembly.compile(bytes);
	const idle = [await begin(module, options)];
	return {
		// handle runs the guest for a request {method, uri, headers, body}. headers is an
		// array of [name, value]. next(request) returns the response to a request that
		// the guest passes on. Without next it is 404.
		async handle(request, next = nothing) {
			const instance = idle.pop() ?? await begin(module, options);
			const response = await instance.handle(request, next);
			idle.push(instance); // not after an error, because the memory may be in any state
			return response;
		},
	};
}

const nothing = () => ({status: 404});

// behind merges the response that the guest began before next with the response of
// next. Fields of the guest stay if the response of next has none of the same name. The
// body of the guest comes first.
function behind(before, response) {
	if (!before) return response;
	const names = new Set(response.headers.map(([name]) => lower(name)));
	response.headers = [...before.headers.filter(([name]) => !names.has(lower(name))), ...response.headers];
	if (before.body.length > 0) {
		const body = new Uint8Array(before.body.length + response.body.length);
		body.set(before.body);
		body.set(response.body, before.body.length);
		response.body = body;
	}
	return response;
}

// begin makes an instance and runs its start function and _initialize.
async function begin(module, options) {
	const host = new Host(options);
	const {exports} = await WebAssembly.instantiate(module, imports(module, host));
	for (const name of ["handle_request", "handle_response"]) {
		if (typeof exports[name] !== "function") throw new Error(`the module exports no ${name}`);
	}
	if (!(exports.memory instanceof WebAssembly.Memory)) throw new Error("the module exports no memory");
	host.exports = exports;
	exports._initialize?.();
	exports._start?.(); // a guest of TinyGo registers its handlers in main
	return host;
}

// imports returns the functions that a module imports, and no others. A module may
// import any function of WASI. Functions that this host lacks return NOSYS.
function imports(module, host) {
	const known = {http_handler: httpHandler(host), perto: perto(host), wasi_snapshot_preview1: wasi(host)};
	const given = {};
	for (const {module: from, name, kind} of WebAssembly.Module.imports(module)) {
		let f = Object.hasOwn(known, from) && Object.hasOwn(known[from], name) ? known[from][name] : undefined;
		if (!f && from === "wasi_snapshot_preview1") f = () => NOSYS;
		if (!f || kind !== "function") {
			const has = Object.hasOwn(known, from) ? `${from} has ${Object.keys(known[from]).filter(n => n !== "yield").sort().join(", ")}` : `this host has ${Object.keys(known).join(", ")}`;
			throw new Error(`it imports ${from}.${name}; ${has}`);
		}
		(given[from] ??= {})[name] = f;
	}
	return given;
}

// Host is an instance and its current request.
class Host {
	features = 0;
	exports = null; // until the instance is made
	call = newCall(null);
	printed = []; // the unfinished last line of each output

	constructor({config = "", kv = {}, info = {}, client = {}, fetch = () => null, log = () => {}}) {
		this.config = toBytes(config);
		this.kv = kv;
		this.edgeInfo = json({name: "", pop: "", city: "", country: "", placement: "browser", ...info});
		const {port = 0, ...place} = client;
		this.clientInfo = json({address: "", city: "", country: "", lat: 0, lon: 0, ...place});
		this.source = place.address ? (place.address.includes(":") ? `[${place.address}]` : place.address) + `:${port}` : "invalid AddrPort";
		this.fetch = fetch;
		this.sink = log;
	}

	// handle runs one request.
	async handle(request, next) {
		const call = this.call = newCall(message({method: "GET", uri: "/", protocol: "HTTP/1.1", ...request}));
		try {
			return await this.run(call, next);
		} finally {
			this.printedAll();
		}
	}

	async run(call, next) {
		const result = BigInt(this.exports.handle_request());
		if (BigInt.asUintN(32, result) === 0n) return finished(this.response()); // without next
		let failed = null;
		const before = call.response;
		try {
			call.response = behind(before, message({status: 200, ...await next(finished(call.request))}));
		} catch (err) {
			failed = err;
			call.response = message({status: 502});
		}
		call.after = true;
		call.written[RESPONSE] = false;
		this.exports.handle_response(Number(BigInt.asIntN(32, result >> 32n)), failed ? 1 : 0);
		// The guest did not replace the failed response.
		if (failed && call.response.status === 502 && call.response.body.length === 0) throw failed;
		return finished(call.response);
	}

	request() {
		if (!this.call.request) throw new Error("it called a host function before its first request");
		return this.call.request;
	}

	response() {
		this.request();
		return this.call.response ??= message({status: 200});
	}

	// beforeNext ends a guest that changes the request after next.
	beforeNext(what) {
		this.request();
		if (this.call.after) throw new Error(`${what}: the next handler has already responded`);
	}

	// fields returns the message with header fields of a kind, and the name of its
	// property.
	fields(kind) {
		switch (kind) {
		case REQUEST: return [this.request(), "headers"];
		case REQUEST_TRAILERS: return [this.request(), "trailers"];
		case RESPONSE: return [this.response(), "headers"];
		case RESPONSE_TRAILERS: return [this.response(), "trailers"];
		}
		throw new Error("unknown kind of header");
	}

	// changeable is fields for changes. After next it ends a guest that changes the
	// request.
	changeable(kind) {
		if (kind === REQUEST || kind === REQUEST_TRAILERS) this.beforeNext("headers of the request");
		return this.fields(kind);
	}

	// bodyOf returns the message with a body of a kind.
	bodyOf(kind) {
		if (kind === REQUEST) return this.request();
		if (kind === RESPONSE) return this.response();
		throw new Error("unknown kind of body");
	}

	// log writes a guest's line to the log, within the limits of the request.
	log(level, text) {
		const part = text.subarray(0, Math.max(0, MAX_LOG - this.call.logged));
		if (!(level in LEVELS) || part.length === 0 || this.call.lines > MAX_LINES) return;
		this.call.logged += part.length;
		if (++this.call.lines > MAX_LINES) this.sink("warn", `the request logs more than ${MAX_LINES} lines: the rest is dropped`);
		else this.sink(LEVELS[level], printable(decoder.decode(part)));
	}

	// print logs the lines that a guest writes to its standard output and error. They may
	// come in pieces.
	print(fd, bytes) {
		const lines = ((this.printed[fd] ?? "") + decoder.decode(bytes)).split("\n");
		this.printed[fd] = lines.pop().slice(0, MAX_LOG);
		for (const line of lines) this.log(fd - 1, encoder.encode(line.replace(/\r$/, "")));
	}

	// printedAll logs the unfinished lines.
	printedAll() {
		for (const fd of [1, 2]) {
			if (this.printed[fd]) this.print(fd, encoder.encode("\n"));
		}
	}

	// view returns a part of the guest's memory, which is valid until the guest runs
	// again. Pointers and lengths are signed numbers.
	view(at, n) {
		at >>>= 0, n >>>= 0;
		const memory = this.exports?.memory;
		if (!memory) throw new Error("it has no memory");
		if (at + n > memory.buffer.byteLength) throw new Error("a pointer is outside of its memory");
		return new Uint8Array(memory.buffer, at, n);
	}

	text(at, n) { return decoder.decode(this.view(at, n)); }

	put(at, bytes) { this.view(at, bytes.length).set(bytes); }

	// give writes a value if it fits into limit bytes. It always returns its length.
	give(at, limit, value) {
		if (value.length > 0 && value.length <= limit >>> 0) this.put(at, value);
		return value.length;
	}

	// giveList writes strings, each ended by a zero byte, if they fit into limit bytes. It
	// returns their number and their total length.
	giveList(at, limit, list) {
		const bytes = encoder.encode(list.map(s => s + "\0").join(""));
		this.give(at, limit, bytes);
		return pair(list.length, bytes.length);
	}

	// giveNext writes the part of a body after its first `read` bytes. It returns the
	// number of written bytes, and the result for the guest.
	giveNext(body, read, at, limit) {
		limit >>>= 0;
		if (limit === 0) throw new Error("the buffer to read into is empty");
		const rest = body.subarray(read), part = rest.subarray(0, limit);
		this.put(at, part);
		return [part.length, pair(part.length === rest.length ? 1 : 0, part.length)];
	}

	// push appends a header field. Too many fields end the guest.
	push(list, line) {
		list.push(line);
		if (list.length > MAX_FIELDS) throw new Error("too many header fields");
	}

	fieldName(at, n) {
		const bytes = this.view(at, n), name = decoder.decode(bytes);
		if (bytes.length > MAX_NAME || !/^[!-~]+$/.test(name) || /["(),/:;<=>?@[\\\]{}]/.test(name)) throw new Error("invalid name of a header field");
		return name;
	}

	// requestLine returns a text for the request line. A text that could end the line ends
	// the guest.
	requestLine(what, at, n, valid) {
		const value = this.text(at, n);
		if (!valid.test(value)) throw new Error(`${what}: the text cannot be part of a request line`);
		return value;
	}

	fieldValue(at, n) {
		const bytes = this.view(at, n), value = decoder.decode(bytes);
		if (bytes.length > MAX_VALUE || CONTROL.test(value)) throw new Error("invalid value of a header field");
		return value.replace(/^[ \t]+|[ \t]+$/g, "");
	}

	// subrequest fetches another path of the service and keeps its body.
	subrequest(uri) {
		this.request();
		const call = this.call;
		call.fetched = new Uint8Array(0);
		call.fetchedRead = 0;
		if (++call.subrequests > MAX_SUBREQUESTS) return FETCH_LIMITED;
		if (!uri.startsWith("/")) return FETCH_FAILED;
		let response;
		try {
			response = this.fetch(uri);
		} catch {}
		if (!response || !Number.isInteger(response.status)) return FETCH_FAILED; // also for a promise, because a guest cannot wait
		call.fetched = toBytes(response.body);
		return response.status;
	}
}

function newCall(request) {
	return {
		request, response: null,
		after: false,     // set after next, while handle_response runs
		read: [0, 0],     // number of bytes of each body that the guest has read
		written: [false, false],
		logged: 0, lines: 0, // bytes and lines
		subrequests: 0, fetched: new Uint8Array(0), fetchedRead: 0,
	};
}

// message returns a copy of a request or response that shares no arrays with m.
function message(m) {
	const lines = list => Array.from(list ?? [], ([name, value]) => [String(name), String(value)]);
	return {...m, headers: lines(m.headers), trailers: lines(m.trailers), body: toBytes(m.body)};
}

// finished returns a copy of a message for the caller of handle.
const finished = m => ({...m, body: NO_BODY.has(m.status) ? new Uint8Array(0) : m.body.slice()});

function toBytes(value) {
	if (value === undefined || value === null) return new Uint8Array(0);
	if (typeof value === "string") return encoder.encode(value);
	if (value instanceof ArrayBuffer) return new Uint8Array(value);
	if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
	throw new Error("a body is text or bytes");
}

// append returns b followed by p. It uses the buffer of b if it is large enough.
function append(b, p) {
	const n = b.length + p.length;
	if (b.byteOffset !== 0 || n > b.buffer.byteLength) {
		const grown = new Uint8Array(Math.max(n, 2 * b.length));
		grown.set(b);
		b = grown;
	}
	const all = new Uint8Array(b.buffer, 0, n);
	all.set(p, n - p.length);
	return all;
}

// json returns a value as JSON in the form of the Go host.
function json(value) {
	const escape = c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
	return encoder.encode(JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, escape));
}

// pair packs two numbers into one result.
const pair = (upper, lower) => BigInt(upper) << 32n | BigInt(lower);

// printable returns a text as one line that a terminal can show, like Go's package
// printable.
const printable = s => s.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]/gu, c => {
	const short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[c];
	return short ?? c.split("").map(unit => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0")).join("");
});

// lower returns a name with ASCII letters in lower case, for comparisons.
const lower = name => name.replace(/[A-Z]/g, c => c.toLowerCase());
const called = (name, yes = true) => line => (lower(line[0]) === lower(name)) === yes;

// httpHandler returns the functions of module "http_handler".
function httpHandler(host) {
	const text = s => encoder.encode(s);
	return {
		enable_features(features) { return host.features |= features & ALL_FEATURES; },
		get_config(at, limit) { return host.give(at, limit, host.config); },
		log(level, at, n) { host.log(level, host.view(at, n)); },
		log_enabled(level) { return level in LEVELS ? 1 : 0; },
		get_method(at, limit) { return host.give(at, limit, text(host.request().method)); },
		set_method(at, n) {
			host.beforeNext("set_method");
			host.request().method = host.requestLine("set_method", at, n, METHOD);
		},
		get_uri(at, limit) { return host.give(at, limit, text(host.request().uri)); },
		set_uri(at, n) {
			host.beforeNext("set_uri");
			host.request().uri = host.requestLine("set_uri", at, n, URI);
		},
		get_protocol_version(at, limit) { return host.give(at, limit, text(host.request().protocol)); },
		get_source_addr(at, limit) {
			host.request();
			return host.give(at, limit, text(host.source));
		},
		get_status_code() { return host.response().status; },
		set_status_code(code) {
			if (code < 200 || code > 599) throw new Error("set_status_code: not a final status (200 to 599)");
			host.response().status = code;
		},
		get_header_names(kind, at, limit) {
			const [m, key] = host.fields(kind);
			return host.giveList(at, limit, [...new Set(m[key].map(([name]) => lower(name)))].sort());
		},
		get_header_values(kind, name, nameLength, at, limit) {
			const wanted = host.fieldName(name, nameLength), [m, key] = host.fields(kind);
			return host.giveList(at, limit, m[key].filter(called(wanted)).map(([, value]) => value));
		},
		set_header_value(kind, name, nameLength, value, valueLength) {
			const [m, key] = host.changeable(kind);
			const line = [host.fieldName(name, nameLength), host.fieldValue(value, valueLength)];
			const i = m[key].findIndex(called(line[0]));
			if (i < 0) {
				host.push(m[key], line);
				return;
			}
			m[key][i][1] = line[1]; // the first field keeps its place and its name
			m[key] = m[key].filter((other, j) => j <= i || !called(line[0])(other));
		},
		add_header_value(kind, name, nameLength, value, valueLength) {
			const [m, key] = host.changeable(kind);
			host.push(m[key], [host.fieldName(name, nameLength), host.fieldValue(value, valueLength)]);
		},
		remove_header(kind, name, nameLength) {
			const [m, key] = host.changeable(kind);
			m[key] = m[key].filter(called(host.fieldName(name, nameLength), false));
		},
		read_body(kind, at, limit) {
			const [n, result] = host.giveNext(host.bodyOf(kind).body, host.call.read[kind], at, limit);
			host.call.read[kind] += n;
			return result;
		},
		// The first part replaces the body. Other parts are appended.
		write_body(kind, at, n) {
			const part = host.view(at, n);
			if (kind === REQUEST) host.beforeNext("write_body");
			const m = host.bodyOf(kind);
			if (!host.call.written[kind]) {
				m.body = new Uint8Array(0);
				host.call.written[kind] = true;
			}
			if (m.body.length + part.length > MAX_RESPONSE) throw new Error("its response exceeds the limit");
			m.body = append(m.body, part);
		},
	};
}

// perto returns the functions of module "perto".
function perto(host) {
	return {
		yield() {}, // not needed, because a guest runs in a worker
		now() { return BigInt(Date.now()) * 1_000_000n; },
		edge_info(at, limit) { return host.give(at, limit, host.edgeInfo); },
		client_info(at, limit) {
			host.request();
			return host.give(at, limit, host.clientInfo);
		},
		log(level, at, n) { host.log(level, host.view(at, n)); },
		kv_get(key, keyLength, at, limit) {
			const name = host.text(key, keyLength);
			return Object.hasOwn(host.kv, name) ? host.give(at, limit, toBytes(host.kv[name])) : -1;
		},
		fetch(at, n) {
			host.request();
			return host.subrequest(host.requestLine("fetch", at, n, TARGET));
		},
		fetch_body(at, limit) {
			const [n, result] = host.giveNext(host.call.fetched, host.call.fetchedRead, at, limit);
			host.call.fetchedRead += n;
			return result;
		},
	};
}

// Errors of WASI.
const SUCCESS = 0, BADF = 8, FAULT = 21, INVAL = 28, NOSYS = 52;

// wasi returns the functions of wasi_snapshot_preview1 that language runtimes need to
// start. There are no files, arguments or variables. There is a clock, random numbers,
// and a standard output that is logged.
function wasi(host) {
	// data returns a view of the guest's memory. Numbers are little-endian.
	const data = (at, n) => {
		const v = host.view(at, n);
		return new DataView(v.buffer, v.byteOffset, n);
	};
	const none = (count, size) => {
		data(count, 4).setUint32(0, 0, true);
		data(size, 4).setUint32(0, 0, true);
		return SUCCESS;
	};
	const standard = fd => fd >= 0 && fd <= 2;
	const functions = {
		args_sizes_get: none,
		args_get: () => SUCCESS,
		environ_sizes_get: none,
		environ_get: () => SUCCESS,
		clock_time_get(clock, _precision, at) {
			if (clock !== 0 && clock !== 1) return INVAL;
			const ns = clock === 0 ? BigInt(Date.now()) * 1_000_000n : BigInt(Math.floor(performance.now() * 1000)) * 1000n;
			data(at, 8).setBigUint64(0, ns, true);
			return SUCCESS;
		},
		random_get(at, n) {
			const bytes = host.view(at, n);
			for (let i = 0; i < bytes.length; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536)); // the maximum of one call
			return SUCCESS;
		},
		fd_write(fd, vectors, count, written) {
			if (fd !== 1 && fd !== 2) return BADF;
			const list = data(vectors, 8 * count);
			let bytes = new Uint8Array(0);
			for (let i = 0; i < count; i++) bytes = append(bytes, host.view(list.getUint32(8 * i, true), list.getUint32(8 * i + 4, true)));
			host.print(fd, bytes);
			data(written, 4).setUint32(0, bytes.length, true);
			return SUCCESS;
		},
		fd_read(fd, _vectors, _count, read) { // standard input is empty
			if (fd !== 0) return BADF;
			data(read, 4).setUint32(0, 0, true);
			return SUCCESS;
		},
		fd_fdstat_get(fd, at) {
			if (!standard(fd)) return BADF;
			host.view(at, 24).fill(0)[0] = 2; // a character device
			return SUCCESS;
		},
		fd_prestat_get: () => BADF,
		fd_prestat_dir_name: () => BADF,
		// It does not wait: all events have occurred already.
		poll_oneoff(subscriptions, events, count, occurred) {
			if (count === 0) return INVAL;
			const given = data(subscriptions, 48 * count), out = data(events, 32 * count);
			for (let i = 0; i < count; i++) {
				const kind = given.getUint8(48 * i + 8);
				host.view(events + 32 * i, 32).fill(0);
				out.setBigUint64(32 * i, given.getBigUint64(48 * i, true), true); // identifier of the subscription
				out.setUint16(32 * i + 8, kind === 0 || standard(given.getInt32(48 * i + 16, true)) ? SUCCESS : BADF, true);
				out.setUint8(32 * i + 10, kind);
			}
			data(occurred, 4).setUint32(0, count, true);
			return SUCCESS;
		},
		proc_exit(code) { throw new Error(`it ended with code ${code >>> 0}`); },
		sched_yield: () => SUCCESS,
	};
	// An invalid pointer is an error of the call and does not end the guest.
	for (const [name, f] of Object.entries(functions)) {
		if (name === "proc_exit") continue;
		functions[name] = (...args) => {
			try {
				return f(...args);
			} catch {
				return FAULT;
			}
		};
	}
	return functions;
}
