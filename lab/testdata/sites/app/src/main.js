import "./main.css";
import logo from "./logo.svg?url";

// show is a router of two pages. The second one is a chunk of its own.
async function show() {
	const main = document.getElementById("app");
	main.textContent = "home";
	if (location.pathname.startsWith("/about")) {
		const { about } = await import("./about.js");
		main.textContent = about(location.pathname);
	}
	const image = new Image();
	image.src = logo;
	await image.decode();
	main.append(image);
	const shown = `${main.textContent}, ${image.naturalWidth} wide, ${getComputedStyle(main).color}`;
	document.title = shown;
	if (parent !== window) parent.postMessage(shown, "*");
}
show();
