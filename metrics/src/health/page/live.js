// Brings the page up to date every 30 seconds while it is seen. Without this script the page is complete; it only says how old it is.
"use strict";
(() => {
  if (window.matchMedia("(prefers-reduced-data: reduce)").matches) return;
  const refresh = async () => {
    const typing = document.activeElement && document.activeElement.matches("input, select");
    if (document.hidden || typing) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [old, fresh] = [document.getElementById("main"), page.getElementById("main")];
      if (!old || !fresh) return;
      const open = [...old.querySelectorAll("details")].map((details) => details.open);
      [...fresh.querySelectorAll("details")].forEach((details, at) => { details.open = Boolean(open[at]); });
      const said = document.getElementById("said");
      const state = fresh.dataset.state;
      if (said && state !== old.dataset.state) said.textContent = state;
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      old.replaceChildren(...fresh.childNodes);
      old.dataset.state = state;
      document.title = page.title;
      if (focused) {
        const again = [...old.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
        if (again) again.focus({ preventScroll: true });
      }
    } catch { /* The server is away; the page says how old it is. */ }
  };
  setInterval(refresh, 30000);
})();
