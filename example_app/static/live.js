// Asks for the timeline every two seconds while somebody looks; without this there is a Refresh link.
const EVERY = 2000;

for (const box of document.querySelectorAll("[data-live]")) {
  const news = document.querySelector("[data-live-news]");
  let shown = null;

  const refresh = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const answer = await fetch(box.dataset.live);
      const html = await answer.text();
      if (!answer.ok || html === shown) return;
      const first = shown === null;
      shown = html;
      show(html, first);
    } catch {
      // The app was stopped, perhaps to be started again.
    }
  };

  const show = (html, first) => {
    const open = [...box.querySelectorAll("details[open]")].map((details) => details.id);
    const focused = document.activeElement?.closest("[data-line]")?.dataset.line;
    const before = new Set([...box.querySelectorAll("[data-line]")].map((line) => line.dataset.line));
    box.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (focused) box.querySelector(`[data-line="${focused}"] summary`)?.focus();
    const fresh = [...box.querySelectorAll("[data-line]")].filter((line) => !before.has(line.dataset.line));
    for (const line of fresh) line.classList.add("fresh");
    if (!first || fresh.length) news.textContent = fresh.map((line) => line.querySelector(".what strong").textContent).join(", ");
  };

  setInterval(refresh, EVERY);
  document.addEventListener("visibilitychange", refresh);
}
