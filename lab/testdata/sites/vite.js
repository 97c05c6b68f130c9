// Builds app/ into a folder, or serves it as a development server.
import { build, createServer } from "vite";

const [what, folder] = process.argv.slice(2);
if (what === "build") {
	await build({ root: "app", logLevel: "warn", build: { outDir: folder, emptyOutDir: true } });
} else {
	const server = await createServer({ root: "app", logLevel: "warn", cacheDir: folder, server: { host: "127.0.0.1", port: 17173 } });
	await server.listen();
	console.log(`http://127.0.0.1:${server.httpServer.address().port}`);
}
