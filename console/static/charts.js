// Line charts of the series, as SVG.

const SVG = "http://www.w3.org/2000/svg";
const SHOWN = 120; // seconds

const CHARTS = [
	{name: "DNS queries", unit: "/ s", of: s => s.queries_per_s},
	{name: "HTTP requests", unit: "/ s", of: s => s.requests_per_s},
	{name: "Answered from caches", unit: "%", of: s => s.hit_ratio < 0 ? null : 100 * s.hit_ratio, most: 100},
	{name: "First byte, median of the cities", cities: true, unit: "ms", of: s => s.first_byte_ms > 0 ? s.first_byte_ms : null},
];

const round = x => x === null || x === undefined ? "–" : x < 10 && x !== Math.round(x) ? x.toFixed(1) : String(Math.round(x));

// line returns path data for values in a box of 100 x 40. A null interrupts the line.
function line(values, most, count) {
	let d = "", pen = "M";
	const step = 100 / Math.max(1, count - 1);
	values.forEach((v, i) => {
		if (v === null) {
			pen = "M";
			return;
		}
		const x = 100 - (values.length - 1 - i) * step;
		d += `${pen}${x.toFixed(2)} ${(38 - 36 * v / most).toFixed(2)}`;
		if (pen === "M" && (i + 1 === values.length || values[i + 1] === null)) d += "h.5";
		pen = "L";
	});
	return d;
}

// chart draws all charts into a box, from the last samples.
export function chart(box, samples) {
	const shown = CHARTS.filter(c => !c.cities || box.dataset.cities === "true");
	if (box.childElementCount === 0) {
		for (const c of shown) {
			const figure = document.createElement("figure");
			figure.className = "chart";
			figure.innerHTML = `<h3>${c.name} <output></output></h3><svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="${c.name}, the last ${SHOWN} s"><path class="axis" d="M0 38H100"/><path class="line"/></svg><small></small>`;
			box.append(figure);
		}
	}
	const last = samples.slice(-SHOWN);
	shown.forEach((c, i) => {
		const values = last.map(c.of);
		const highest = Math.max(...values.filter(v => v !== null), 0);
		const most = c.most ?? Math.max(highest, 1);
		const figure = box.children[i];
		figure.querySelector(".line").setAttribute("d", line(values, most, SHOWN));
		figure.querySelector("output").textContent = `${round(values.at(-1))} ${c.unit}`;
		figure.querySelector("small").textContent = `${SHOWN} s, the most ${round(highest)} ${c.unit}`;
	});
}

// spark draws the values that a paragraph holds in data-values.
export function spark(p) {
	const values = p.dataset.values.trim().split(/\s+/).map(Number);
	if (values.length < 2) return;
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("viewBox", "0 0 100 40");
	svg.setAttribute("preserveAspectRatio", "none");
	svg.setAttribute("aria-hidden", "true");
	const path = document.createElementNS(SVG, "path");
	path.setAttribute("d", line(values, Math.max(...values, 1), values.length));
	svg.append(path);
	p.prepend(svg);
}
