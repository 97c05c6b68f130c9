// Runs functions in a worker, so that they cannot block the page: see functions.js.
import {load} from "./guest.js";

const codes = new Map(); // by digest
const loaded = new Map(); // by digest and options

// responseOf turns a reply of the lab's API into a response for guest.js.
const responseOf = f => ({
	status: f.status,
	headers: Object.entries(f.header ?? {}).flatMap(([name, values]) => values.map(value => [name, value])),
	body: Uint8Array.from(atob(f.body ?? ""), c => c.charCodeAt(0)),
});

// fetchNow fetches synchronously while the guest waits, which only a worker may do.
function fetchNow(url) {
	const q = new XMLHttpRequest();
	q.open("GET", url, false);
	q.send();
	return q.status === 200 ? responseOf(JSON.parse(q.responseText)) : null;
}

// codeOf loads a module. The browser checks its digest.
async function codeOf(digest) {
	const integrity = "sha256-" + btoa(digest.match(/../g).map(d => String.fromCharCode(parseInt(d, 16))).join(""));
	const reply = await fetch("/api/functions/modules/" + digest, {integrity});
	if (!reply.ok) throw new Error(`its code could not be loaded: status ${reply.status}`);
	return reply.arrayBuffer();
}

// A message is {digest, options, request, elsewhere}. The URL of a path of the service
// is elsewhere + path. The reply is {response, came, ms} or {error}.
onmessage = async ({data: {digest, options, request, elsewhere}}) => {
	try {
		const start = performance.now(), key = JSON.stringify([digest, options, elsewhere]);
		let came = 0;
		if (!codes.has(digest)) {
			codes.set(digest, await codeOf(digest));
			came = codes.get(digest).byteLength;
		}
		if (!loaded.has(key)) {
			loaded.set(key, await load(codes.get(digest), {
				...options,
				fetch: uri => fetchNow(elsewhere + encodeURIComponent(uri)),
				log: (level, text) => console.log(`${request.uri}: ${level}: ${text}`),
			}));
		}
		const response = await loaded.get(key).handle(request, async passed => {
			const reply = await fetch(elsewhere + encodeURIComponent(passed.uri)), value = await reply.json();
			if (!reply.ok) throw new Error(value.error ?? `status ${reply.status}`);
			return responseOf(value);
		});
		postMessage({response, came, ms: performance.now() - start});
	} catch (err) {
		postMessage({error: err.message});
	}
};
