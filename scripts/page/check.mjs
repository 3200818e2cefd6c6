// Opens pages in headless Chromium: no console error, no finding of axe-core, no horizontal scrolling, no texts of the timeline that meet.
// Usage: node check.mjs BASE-URL [SCREENSHOT-DIR NAME]; the modules come from NODE_MODULES (see scripts/page/check).
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const modules = process.env.NODE_MODULES;
const require = createRequire(join(modules, "playwright-core/package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(join(modules, "axe-core/axe.min.js"), "utf8");
const [base, shots, name] = process.argv.slice(2);
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: quiet });
const faults = [];

const meet = () => {
  const boxes = [...document.querySelectorAll("svg.tl text")]
    .filter((text) => text.textContent.trim() && getComputedStyle(text).display !== "none")
    .map((text) => {
      // A bar cuts off a label that is too long.
      const box = text.getBoundingClientRect();
      const bar = text.parentElement;
      const end = bar.matches("svg.tl svg[overflow=hidden]") ? bar.getScreenCTM().e + bar.width.baseVal.value : box.right;
      return { text: text.textContent, left: box.left, top: box.top, bottom: box.bottom, right: Math.min(box.right, end) };
    })
    .filter((box) => box.right - box.left > 1);
  const found = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
    if (a.left + 1 < b.right && b.left + 1 < a.right && a.top + 1 < b.bottom && b.top + 1 < a.bottom) found.push(`${a.text} / ${b.text}`);
  }));
  return found;
};

for (const path of (process.env.PATHS || "/").split(" ")) {
  for (const width of [1280, 390, 320]) {
    for (const scheme of ["light", "dark"]) {
      for (const script of [true, false]) {
        // The content does not differ without the script: one look at a width and scheme is enough.
        if (!script && (scheme === "dark" || width === 320)) continue;
        const where = `${path} ${width} px ${scheme}${script ? "" : " without JavaScript"}`;
        const context = await browser.newContext({
          viewport: { width, height: width > 600 ? 900 : 1400 }, colorScheme: scheme, javaScriptEnabled: script,
        });
        const page = await context.newPage();
        page.on("console", (message) => { if (message.type() === "error") faults.push(`${where}: ${message.text()}`); });
        page.on("pageerror", (error) => faults.push(`${where}: ${error}`));
        page.on("requestfailed", (request) => faults.push(`${where}: ${request.url()} failed`));
        const started = Date.now();
        const answer = await page.goto(base + path, { waitUntil: "networkidle" });
        const took = Date.now() - started;
        if (!answer || answer.status() !== 200) faults.push(`${where}: status ${answer && answer.status()}`);
        if (!(await page.innerText("h1"))) faults.push(`${where}: no heading`);
        if (shots && script && width !== 320) {
          const kind = `${width > 600 ? "wide" : "phone"}${scheme === "dark" ? "-dark" : ""}`;
          const place = path === "/" ? name : `${name}-zone`;
          await page.screenshot({ path: join(shots, `${place}-${kind}.png`), fullPage: false });
          if (process.env.FULL) await page.screenshot({ path: join(shots, `${place}-${kind}-full.png`), fullPage: true });
        }
        if (script) {
          const scroll = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          if (scroll > 0) faults.push(`${where}: scrolls by ${scroll} px`);
          for (const pair of await page.evaluate(meet)) faults.push(`${where}: texts meet: ${pair}`);
          await page.evaluate(() => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
          await page.evaluate(axe);
          const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
          const result = await page.evaluate((tags) => axe.run(document, { runOnly: tags }), tags);
          for (const violation of result.violations) {
            faults.push(`${where}: ${violation.id}: ${violation.help}: ${violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`);
          }
        }
        console.log(`${where}: ${took} ms`);
        await context.close();
      }
    }
  }
}
await browser.close();
faults.forEach((fault) => console.error(fault));
process.exit(faults.length ? 1 : 0);
