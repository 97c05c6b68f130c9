// The console's script. It keeps the page up to date with server-sent events, and it
// loads parts of other pages into this one. Without it, the page works as it is.

import {draw, select} from "/static/map.js";
import {chart, spark} from "/static/charts.js";
import {play} from "/static/trace.js";
import {tables} from "/static/tables.js";

const main = document.getElementById("main");
const detail = document.getElementById("detail");
const notice = document.getElementById("notice");

// say shows a message for a moment. Screen readers read it out.
let hide = 0;
function say(text) {
	notice.textContent = text;
	notice.hidden = false;
	clearTimeout(hide);
	hide = setTimeout(() => { notice.hidden = true; }, 8_000);
}

// fragment loads the main part of a page.
async function fragment(url) {
	const at = new URL(url, location.href);
	at.searchParams.set("fragment", "1");
	const reply = await fetch(at);
	const text = await reply.text();
	if (!reply.ok && !reply.headers.get("Content-Type")?.startsWith("text/html")) throw new Error(text);
	const box = document.createElement("div");
	box.innerHTML = text; // made by the console's own templates, which escape all values
	return box;
}

let shown = ""; // the page in the detail panel
async function show(url, trace = false) {
	const mine = shown = url;
	const at = new URL(url, location.href);
	if (trace && at.pathname.startsWith("/vantage/")) at.searchParams.set("trace", "/");
	detail.setAttribute("aria-busy", "true");
	try {
		const part = await fragment(at);
		if (mine !== shown) return; // the reader has selected another one
		detail.replaceChildren(...part.children);
		const card = detail.querySelector("[data-shows]");
		select(card?.dataset.shows, card?.dataset.name);
		enhance(detail);
	} catch (err) {
		say(err.message);
	} finally {
		if (mine === shown) detail.removeAttribute("aria-busy");
	}
}

// enhance starts what a new part of the page contains.
function enhance(part) {
	for (const p of part.querySelectorAll(".spark")) spark(p);
	const steps = part.querySelector(".steps");
	if (steps) play(steps);
}

// renew loads the PoP in the detail panel again, when it or its cities have changed. A
// city's panel keeps the trace, and only its edges change.
let signature = "";
function renew(state) {
	const card = detail?.querySelector("[data-shows]");
	if (!card) return;
	const name = card.dataset.name;
	if (card.dataset.shows === "vantage") {
		const v = state.vantages.find(v => v.name === name), cell = card.querySelector(".served");
		const text = v?.pop ? `${v.edges.join(", ")}, ${Math.round(v.km)} km away` : "no edge";
		if (v && cell.textContent !== text) cell.textContent = text;
		return;
	}
	const now = JSON.stringify([name, state.pops.find(p => p.name === name)?.state, state.edges.filter(e => e.pop === name).map(e => e.fault), state.vantages.filter(v => v.pop === name).map(v => v.name)]);
	if (signature !== now && signature.startsWith(JSON.stringify([name]).slice(0, -1))) show(shown);
	signature = now;
}

document.addEventListener("click", event => {
	if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || !detail) return;
	const link = event.target.closest("a[data-vantage], a[data-pop], a[data-select]");
	if (!link) return;
	event.preventDefault();
	const href = link.getAttribute("href");
	show(href, href.startsWith("/vantage/"));
	if (!link.closest("#map, #detail")) document.getElementById("map").scrollIntoView({block: "start"});
});

document.addEventListener("submit", async event => {
	const form = event.target, button = event.submitter;
	const action = new URL(button?.getAttribute("formaction") ?? form.getAttribute("action"), location.href);
	const data = new FormData(form, button);
	if (action.pathname === "/act") {
		event.preventDefault();
		await act(data, button);
	} else if (form.classList.contains("trace-form") && detail?.contains(form)) {
		event.preventDefault();
		button.disabled = true;
		show(`${action.pathname}?${new URLSearchParams(data)}`);
	} else if (form.id === "visit-form") {
		event.preventDefault();
		button.disabled = true;
		const url = `/visit?${new URLSearchParams(data)}`;
		try {
			const part = await fragment(url);
			const section = part.querySelector("#visit");
			document.getElementById("visit").replaceWith(section);
			if (location.pathname === "/visit") history.replaceState(null, "", url);
			enhance(section);
		} catch (err) {
			say(err.message);
			button.disabled = false;
		}
	}
});

const done = {kill: "was killed", freeze: "is frozen", cut: "is cut off", heal: "is healed", purge: "All caches are empty.", visitors: "Every city loads the front page each 2 s.", "no-visitors": "The visitors have stopped."};

async function act(data, button) {
	if (button) button.disabled = true;
	try {
		const reply = await fetch("/act", {method: "POST", body: new URLSearchParams(data), redirect: "manual"});
		if (reply.type !== "opaqueredirect" && !reply.ok) throw new Error(await reply.text());
		const host = data.get("host"), text = done[data.get("do")] ?? data.get("do");
		say(host ? `${host} ${text}.` : text);
	} catch (err) {
		say(err.message);
	} finally {
		if (button) button.disabled = false;
	}
}

// Frames of the live page are drawn at most once for each event.
const charts = document.getElementById("charts");
const samples = [];

// names returns the names in a state. The server draws the page with them, so a page with
// other names is loaded again, for example after a reload of the configuration.
const names = state => JSON.stringify([state.title, ...["pops", "edges", "vantages", "servers", "services"].map(list => state[list].map(x => x.name))]);
let drawn = "";

function listen() {
	const events = new EventSource("/events");
	events.onopen = () => { samples.length = 0; }; // each stream begins with all samples
	events.addEventListener("state", ({data}) => {
		const state = JSON.parse(data);
		drawn ||= names(state);
		if (drawn !== names(state)) {
			location.reload();
			return;
		}
		draw(state);
		tables(state);
		renew(state);
		document.body.dataset.live = "yes";
	});
	events.addEventListener("samples", ({data}) => {
		samples.push(...JSON.parse(data));
		samples.splice(0, samples.length - 900);
		if (charts) {
			charts.hidden = false;
			chart(charts, samples);
		}
	});
	events.onerror = () => {
		document.body.dataset.live = "no";
		document.getElementById("summary").textContent = "No connection to perto: this is an earlier state.";
		if (events.readyState === EventSource.CLOSED) setTimeout(listenAgain, 2_000); // else the browser tries again
	};
}

// listenAgain follows a response that is no stream. When the session has ended, the page
// loads again, which leads to the log-in.
async function listenAgain() {
	const reply = await fetch("/", {method: "HEAD", cache: "no-store"}).catch(() => null);
	if (reply?.status === 401) location.reload();
	else listen();
}

listen();

const table = document.getElementById("samples");
if (table) table.open = false; // the charts show the same
if (charts) chart(charts, samples);
enhance(main);
if (document.getElementById("functions")) import("/static/functions.js");

// A link such as /#jakarta-office opens the map with a city selected.
const wanted = decodeURIComponent(location.hash.slice(1));
if (detail && wanted && document.querySelector(`#map [data-vantage="${CSS.escape(wanted)}"]`)) show(`/vantage/${encodeURIComponent(wanted)}`, true);
