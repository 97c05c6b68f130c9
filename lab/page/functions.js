// The panel "The same code in three places": a function answers at the origin, at
// the edge that serves a vantage, and in this browser, to which its code comes when
// it is asked for. Without functions there is no panel.

const ORIGIN = "origin.shop.example";
const WAIT = 5_000; // ms that a function has here, with its way to us

const PLACES = [
	{name: "origin", title: "At the origin", run: (f, v) => fetchFrom(v, ORIGIN, f)},
	{name: "edge", title: "At the edge", run: (f, v) => fetchFrom(v, f.service, f)},
	{name: "here", title: "Here, in your browser", run: runHere},
];

// make returns an element; what children are is text or elements.
function make(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
	e.append(...children);
	return e;
}

// getJSON asks the lab; its errors are JSON too.
async function getJSON(url) {
	const reply = await fetch(url);
	const value = await reply.json().catch(() => ({}));
	if (!reply.ok) throw new Error(value.error ?? `${url}: status ${reply.status}`);
	return value;
}

// pathOf is what a client asks a function: one for all that is below a path is asked
// for the path itself.
const pathOf = f => f.path.replace(/\*$/, "");

const labFetch = (vantage, host) => `/api/lab/fetch?body=1&from=${encodeURIComponent(vantage.name)}&url=${encodeURIComponent("http://" + host)}`;

// fetchFrom asks a host through a vantage.
async function fetchFrom(vantage, host, f) {
	const got = await getJSON(labFetch(vantage, host + pathOf(f)));
	const type = Object.entries(got.header ?? {}).find(([name]) => name.toLowerCase() === "content-type");
	return {
		status: got.status, type: type?.[1][0] ?? "", body: Uint8Array.from(atob(got.body ?? ""), c => c.charCodeAt(0)),
		ms: got.total_ns / 1e6, where: `${got.server || got.address}, asked from ${got.place || vantage.name}`, came: bytes(got.bytes),
	};
}

let worker = null; // keeps the functions that came

// inWorker asks the worker and ends it when it does not answer: a loop without end
// is nothing that it could be asked to stop.
function inWorker(message) {
	worker ??= new Worker("/functionworker.js", {type: "module"});
	return new Promise((resolve, reject) => {
		const end = why => {
			worker?.terminate();
			worker = null;
			reject(new Error(why));
		};
		const late = setTimeout(end, WAIT, `no answer within ${WAIT / 1000} s`);
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

// runHere is a client who is where the vantage is.
async function runHere(f, vantage) {
	const {name = "", country = "", lat = 0, lon = 0} = vantage.where ?? {};
	const {answer, came, ms} = await inWorker({
		digest: f.digest,
		options: {
			config: f.settings?.config ?? "", kv: f.settings?.kv ?? {},
			info: {name: "browser", placement: "browser"},
			client: {address: vantage.addresses?.[0] ?? "", city: name, country, lat, lon},
		},
		request: {method: "GET", uri: pathOf(f), headers: [["Host", f.service], ["User-Agent", navigator.userAgent], ["Accept", "*/*"]]},
		elsewhere: labFetch(vantage, f.service),
	});
	const type = answer.headers.find(([name]) => name.toLowerCase() === "content-type");
	return {
		status: answer.status, type: type?.[1] ?? "", body: answer.body,
		ms, where: "this page", came: came > 0 ? `${bytes(came)} of code` : "0 B: the code is here",
	};
}

function bytes(n) {
	if (n < 1000) return `${n} B`;
	return n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

// shown is an answer's body: an image, or the beginning of its text.
function shown(answer) {
	if (answer.type.startsWith("image/")) {
		const image = make("img", {alt: "The function's answer"});
		image.src = URL.createObjectURL(new Blob([answer.body], {type: answer.type}));
		image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
		return image;
	}
	return make("pre", {}, new TextDecoder().decode(answer.body.subarray(0, 4000)) || "(an empty body)");
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
			const answer = await place.run(f, vantage);
			const facts = {Status: answer.status, Took: `${answer.ms < 10 ? answer.ms.toFixed(1) : Math.round(answer.ms)} ms`, Ran: answer.where, Came: answer.came};
			result = [shown(answer), make("dl", {}, ...Object.entries(facts).flatMap(([k, v]) => [make("dt", {}, k), make("dd", {}, String(v))]))];
		} catch (err) {
			result = [make("p", {class: "failed"}, err.message)];
		}
		button.disabled = false;
		if (mine === turn) out.replaceChildren(...result); // else another function was chosen
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
		make("p", {}, "One WebAssembly module, one answer. What differs is the way to it: to the origin, to the edge near the vantage, or none, once the code is here."),
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
} catch {} // this lab has none
