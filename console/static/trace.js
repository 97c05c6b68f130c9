// Plays the steps of a trace on the map. Each message moves from its sender to its
// receiver and back, so slowly that the eye can follow: one second of the request takes
// SLOWER seconds.

import {arc} from "/static/map.js";

const SLOWER = 3, SHORTEST = 300; // ms on the screen for the shortest step
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes, text = "") {
	const e = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
	e.textContent = text;
	return e;
}

const place = text => {
	const [lon, lat] = text.split(" ").map(Number);
	return {lon, lat};
};

let playing = 0;

export async function play(list) {
	const layer = document.querySelector("#map #trace");
	if (!layer) return;
	const mine = ++playing;
	const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
	layer.replaceChildren();
	for (const li of list.children) {
		const from = place(li.dataset.from), to = place(li.dataset.to), took = Number(li.dataset.took);
		const known = (from.lon || from.lat) && (to.lon || to.lat);
		li.classList.add("now");
		if (known) {
			const way = arc(from, to, .12 + .05 * Number(li.dataset.number));
			const middle = way.point(.3 + .08 * (Number(li.dataset.number) % 6)); // labels of equal ways stay apart
			layer.append(make("path", {d: way.d}), make("text", {x: middle.x.toFixed(2), y: middle.y.toFixed(2), "text-anchor": "middle"}, `${Math.round(took)} ms`));
			if (!still) await move(layer, way, Math.max(SHORTEST, took * SLOWER), () => mine === playing && list.isConnected);
		}
		li.classList.remove("now");
		if (mine !== playing || !list.isConnected) return;
		// Only the client's own steps keep their labels, so that these stay legible.
		if (!li.classList.contains("depth-0")) layer.querySelector("text:last-of-type")?.remove();
	}
	list.dataset.played = "yes";
}

// move shows a dot that goes along a way and back.
function move(layer, way, duration, wanted) {
	const dot = make("circle", {class: "mover", r: 2.2});
	layer.append(dot);
	const start = performance.now();
	return new Promise(resolve => {
		const frame = now => {
			const t = Math.min(1, (now - start) / duration);
			const at = way.point(t < .5 ? 2 * t : 2 - 2 * t);
			dot.setAttribute("cx", at.x.toFixed(2));
			dot.setAttribute("cy", at.y.toFixed(2));
			if (t < 1 && wanted()) {
				requestAnimationFrame(frame);
				return;
			}
			dot.remove();
			resolve();
		};
		requestAnimationFrame(frame);
	});
}
