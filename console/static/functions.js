// The panel "The same code in three places". It runs a function at the origin, at the
// edge that serves a vantage, and in this browser. The browser loads the code at the
// first run (code on demand). Without functions there is no panel.

const ORIGIN = "origin.shop.example";
const WAIT = 5_000; // timeout of a function in the browser in ms, with the download

const PLACES = [
	{name: "origin", title: "At the origin", run: (f, v) => fetchFrom(v, ORIGIN, f)},
	{name: "edge", title: "At the edge", run: (f, v) => fetchFrom(v, f.service, f)},
	{name: "here", title: "Here, in your browser", run: runHere},
];

// make returns an element. Its children are texts or elements.
function make(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
	e.append(...children);
	return e;
}

// getJSON calls the lab's API. Its errors are JSON too.
async function getJSON(url) {
	const reply = await fetch(url);
	const value = await reply.json().catch(() => ({}));
	if (!reply.ok) throw new Error(value.error ?? `${url}: status ${reply.status}`);
	return value;
}

// pathOf returns the path of a request to a function. For a path with "*" at its end,
// it is the path without "*".
const pathOf = f => f.path.replace(/\*$/, "");

const labFetch = (vantage, host) => `/api/lab/fetch?body=1&from=${encodeURIComponent(vantage.name)}&url=${encodeURIComponent("http://" + host)}`;

// fetchFrom sends a request to a host from a vantage.
async function fetchFrom(vantage, host, f) {
	const got = await getJSON(labFetch(vantage, host + pathOf(f)));
	const type = Object.entries(got.header ?? {}).find(([name]) => name.toLowerCase() === "content-type");
	return {
		status: got.status, type: type?.[1][0] ?? "", body: Uint8Array.from(atob(got.body ?? ""), c => c.charCodeAt(0)),
		ms: got.total_ms, where: `${got.server || got.address}, requested from ${got.place || vantage.name}`, came: bytes(got.bytes),
	};
}

let worker = null; // it keeps the loaded functions

// inWorker sends a message to the worker. It terminates the worker when there is no
// reply in time, because a worker in an endless loop receives no messages.
function inWorker(message) {
	worker ??= new Worker("/static/functionworker.js", {type: "module"});
	return new Promise((resolve, reject) => {
		const end = why => {
			worker?.terminate();
			worker = null;
			reject(new Error(why));
		};
		const late = setTimeout(end, WAIT, `no response within ${WAIT / 1000} s`);
		worker.onerror = e => {
			clearTimeout(late);
			end(e.message || "the worker does not start");
		};
		worker.onmessage = ({data}) => {
			clearTimeout(late);
			data.error === undefined ? resolve(data) : reject(new Error(data.error));
		};
		worker.postMessage(message);
	});
}

// runHere runs the function in the browser, with the place of the vantage as the
// client's.
async function runHere(f, vantage) {
	const {name = "", country = "", lat = 0, lon = 0} = vantage.where ?? {};
	const {response, came, ms} = await inWorker({
		digest: f.digest,
		options: {
			config: f.settings?.config ?? "", kv: f.settings?.kv ?? {},
			info: {name: "browser", placement: "browser"},
			client: {address: vantage.addresses?.[0] ?? "", city: name, country, lat, lon},
		},
		request: {method: "GET", uri: pathOf(f), headers: [["Host", f.service], ["User-Agent", navigator.userAgent], ["Accept", "*/*"]]},
		elsewhere: labFetch(vantage, f.service),
	});
	const type = response.headers.find(([name]) => name.toLowerCase() === "content-type");
	return {
		status: response.status, type: type?.[1] ?? "", body: response.body,
		ms, where: "this page", came: came > 0 ? `${bytes(came)} of code` : "0 B: the code is here",
	};
}

function bytes(n) {
	if (n < 1000) return `${n} B`;
	return n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

// shown returns an element with a response's body: an image, or the first part of the
// text.
function shown(response) {
	if (response.type.startsWith("image/")) {
		const image = make("img", {alt: "The function's response"});
		image.src = URL.createObjectURL(new Blob([response.body], {type: response.type}));
		image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
		return image;
	}
	return make("pre", {}, new TextDecoder().decode(response.body.subarray(0, 4000)) || "(an empty body)");
}

function column(place, chosen) {
	const button = make("button", {type: "button"}, "Run");
	const out = make("div", {"aria-live": "polite"});
	let turn = 0;
	const clear = () => {
		turn++;
		out.replaceChildren();
	};
	button.onclick = async () => {
		const mine = ++turn, {f, vantage} = chosen();
		button.disabled = true;
		let result;
		try {
			const response = await place.run(f, vantage);
			const facts = {Status: response.status, Time: `${response.ms < 10 ? response.ms.toFixed(1) : Math.round(response.ms)} ms`, "Ran at": response.where, Transferred: response.came};
			result = [shown(response), make("dl", {}, ...Object.entries(facts).flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, String(v))]))];
		} catch (err) {
			result = [make("p", {class: "failed"}, err.message)];
		}
		button.disabled = false;
		if (mine === turn) out.replaceChildren(...result); // otherwise another function was chosen
	};
	return {button, clear, element: make("article", {id: `run-${place.name}`}, make("h3", {}, place.title), button, out)};
}

function panel(section, list, vantages) {
	const which = make("select", {}, ...list.map((f, i) => make("option", {value: i}, `${f.service}${pathOf(f)}, version ${f.version}`)));
	const from = make("select", {}, ...vantages.map((v, i) => make("option", {value: i}, v.place ? `${v.name}, ${v.place}` : v.name)));
	const chosen = () => ({f: list[which.value], vantage: vantages[from.value]});
	const columns = PLACES.map(place => column(place, chosen));
	which.onchange = from.onchange = () => columns.forEach(c => c.clear());
	const all = make("button", {type: "button"}, "Run in all three");
	all.onclick = () => columns.forEach(c => c.button.click());
	section.replaceChildren(
		make("h2", {}, "The same code in three places"),
		make("p", {}, "The same WebAssembly module makes the same response in all three places. Only the distance to the code differs: to the origin, to the edge near the vantage, or none when the code is in the browser."),
		make("div", {class: "choice"}, make("label", {}, "Function ", which), make("label", {}, "Vantage ", from), all),
		make("div", {class: "places"}, ...columns.map(c => c.element)),
	);
	section.hidden = false;
}

const section = document.getElementById("functions");
try {
	const {desired} = await getJSON("/api/functions");
	if (desired?.length > 0) {
		const vantages = await getJSON("/api/lab/vantages");
		if (vantages.length > 0) panel(section, desired, vantages);
	}
} catch {} // this lab has no functions
