// The map. It changes the marks that the server has drawn.

const map = document.getElementById("map");
const DATA = .15, ASK = -.12; // bends of arcs, as in worldmap.go

// arc returns an arc between two places as SVG path data, and a function for its points.
export function arc(a, b, bend) {
	const dx = b.lon - a.lon, dy = b.lat - a.lat;
	const cx = (a.lon + b.lon) / 2 - dy * bend, cy = (a.lat + b.lat) / 2 + dx * bend;
	const f = x => x.toFixed(2);
	const point = t => ({
		x: (1 - t) ** 2 * a.lon + 2 * t * (1 - t) * cx + t ** 2 * b.lon,
		y: -((1 - t) ** 2 * a.lat + 2 * t * (1 - t) * cy + t ** 2 * b.lat),
	});
	return {d: `M${f(a.lon)} ${f(-a.lat)}Q${f(cx)} ${f(-cy)} ${f(b.lon)} ${f(-b.lat)}`, point};
}

// draw shows a state: the edge of each city, and the state of each PoP.
export function draw(state) {
	document.getElementById("summary").textContent = state.summary;
	if (!map) return;
	const places = new Map(state.pops.map(p => [p.name, p.place]));
	for (const v of state.vantages) {
		const mark = map.querySelector(`[data-vantage="${CSS.escape(v.name)}"]`);
		if (!mark) continue;
		const to = places.get(v.pop);
		mark.classList.toggle("far", v.far);
		mark.classList.toggle("unserved", !to);
		mark.querySelector(".data").setAttribute("d", to ? arc(v.place, to, DATA).d : "");
		mark.querySelector(".guess").setAttribute("d", to ? arc(v.resolver_place, to, ASK).d : "");
		mark.dataset.to = v.pop;
		mark.querySelector("title").textContent = v.text;
	}
	const origin = map.querySelector("[data-origin]");
	if (origin) {
		origin.setAttribute("class", state.origin_fault ? "origin failing" : "origin");
		origin.querySelector("title").textContent = `origin: ${state.origin_fault || "well"}`;
	}
	for (const p of state.pops) {
		const mark = map.querySelector(`[data-pop="${CSS.escape(p.name)}"]`);
		if (mark) mark.setAttribute("class", `pop ${p.state}`);
	}
}

// select highlights a city or a PoP.
export function select(kind, name) {
	if (!map) return;
	for (const old of map.querySelectorAll(".selected")) old.classList.remove("selected");
	map.querySelector("#trace").replaceChildren();
	const chosen = kind === "pop" ? map.querySelectorAll(`[data-to="${CSS.escape(name)}"]`) : map.querySelectorAll(`[data-vantage="${CSS.escape(name ?? "")}"]`);
	for (const mark of chosen) mark.classList.add("selected");
	map.classList.toggle("focused", chosen.length > 0);
}
