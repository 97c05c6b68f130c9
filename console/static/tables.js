// Keeps the tables of the page up to date. Rows and buttons are made anew only when their
// content has changed, so that the keyboard's focus stays.

function make(tag, attributes = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
	e.append(...children);
	return e;
}

function set(cell, text) {
	if (cell && cell.textContent !== text) cell.textContent = text;
}

function size(n) {
	if (n < 1000) return `${n} B`;
	if (n < 1e6) return `${(n / 1e3).toFixed(1)} kB`;
	if (n < 1e9) return `${(n / 1e6).toFixed(1)} MB`;
	return `${(n / 1e9).toFixed(2)} GB`;
}

function ago(time) {
	if (time.startsWith("0001-")) return "–"; // Go's zero time
	const s = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
	if (s < 60) return `${Math.round(s)} s`;
	if (s < 3600) return `${Math.round(s / 60)} min`;
	if (s < 172_800) return `${Math.round(s / 3600)} h`;
	return `${Math.round(s / 86_400)} days`;
}

const percent = c => c.requests > 0 ? `${Math.round(100 * c.hits / c.requests)} %` : "–";
const stateOf = state => make("span", {class: `state ${state}`}, state);

function showState(cell, state, fault, reason = "") {
	const all = `${state} ${fault} ${reason}`;
	if (cell.dataset.shows === all) return;
	cell.dataset.shows = all;
	cell.replaceChildren(stateOf(state), ...fault ? [" ", make("span", {class: "fault"}, fault)] : [], ...reason ? [make("br"), make("small", {}, reason)] : []);
}

function showActions(cell, host, fault) {
	const wanted = fault ? ["heal"] : ["kill", "freeze", "cut"];
	if ([...cell.querySelectorAll("button")].map(b => b.value).join() === wanted.join()) return;
	cell.replaceChildren(...wanted.map(what => make("form", {method: "post", action: "/act", class: "act"},
		make("input", {type: "hidden", name: "host", value: host}), make("button", {name: "do", value: what, "aria-label": `${what} ${host}`}, what))));
}

let last = null; // the newest state, for the ages

export function tables(state) {
	last = state;
	const visitors = document.getElementById("visitors");
	if (visitors) visitors.dataset.visiting = state.visiting;
	for (const e of state.edges) {
		const row = document.querySelector(`[data-edge="${CSS.escape(e.name)}"]`);
		if (row) {
			const [, , condition, since, reason, requests, hits, stored, actions] = row.cells;
			showState(condition, e.state, e.fault);
			set(since, ago(e.since));
			set(reason, e.reason);
			set(requests, String(e.count.requests));
			set(hits, percent(e.count));
			set(stored, size(e.bytes));
			if (actions) showActions(actions, e.name, e.fault);
		}
		const short = document.querySelector(`[data-edge-short="${CSS.escape(e.name)}"]`);
		if (short) {
			const [, condition, requests, hits] = short.cells;
			showState(condition, e.state, e.fault, e.reason);
			set(requests, String(e.count.requests));
			set(hits, percent(e.count));
			set(short.querySelector(".stored"), `${e.objects} replies, ${size(e.bytes)}`);
		}
	}
	for (const s of state.servers) {
		const row = document.querySelector(`[data-server="${CSS.escape(s.name)}"]`);
		if (!row) continue;
		if ((row.cells[0].dataset.fault ?? "") !== (s.fault ?? "")) {
			row.cells[0].dataset.fault = s.fault ?? "";
			row.cells[0].replaceChildren(s.name, ...s.fault ? [" ", make("span", {class: "fault"}, s.fault)] : []);
		}
		if (row.cells[3]) showActions(row.cells[3], s.name, s.fault);
	}
	for (const v of state.vantages) {
		const row = document.querySelector(`[data-vantage-row="${CSS.escape(v.name)}"]`);
		if (!row) continue;
		set(row.cells[3], v.pop ? v.edges.join(", ") : "none");
		set(row.cells[4], v.pop ? `${Math.round(v.km)} km` : "");
	}
	const list = document.getElementById("event-list");
	const newest = state.events[0] ? `${state.events[0].at} ${state.events[0].edge} ${state.events[0].to}` : "";
	if (list && list.dataset.newest !== newest) {
		list.dataset.newest = newest;
		if (state.events.length > 0) list.replaceChildren(...state.events.map(e => make("li", {},
			make("time", {}, new Date(e.at).toLocaleTimeString("en-GB")), " ", make("b", {}, e.edge), ` ${e.from} → `, stateOf(e.to), ` ${e.reason}`)));
	}
}

setInterval(() => {
	for (const e of last?.edges ?? []) set(document.querySelector(`[data-edge="${CSS.escape(e.name)}"]`)?.cells[3], ago(e.since));
}, 1000);
