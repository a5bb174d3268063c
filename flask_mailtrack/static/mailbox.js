// Asks for what may have changed every two seconds while somebody looks. Without this, a reload shows it.
const EVERY = 2000;

for (const box of document.querySelectorAll("[data-live]")) {
  const news = box.parentElement.querySelector("[data-live-news]");
  const known = () => new Set([...box.querySelectorAll("[data-line]")].map((line) => line.dataset.line));
  let shown = null;

  const show = (html) => {
    const before = known();
    const open = [...box.querySelectorAll("details[open]")].map((details) => details.id);
    const line = box.contains(document.activeElement) && document.activeElement.closest("[data-line]");
    box.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (line) box.querySelector(`[data-line="${line.dataset.line}"] :is(a, summary)`)?.focus();
    const fresh = [...box.querySelectorAll("[data-line]")].filter((each) => !before.has(each.dataset.line));
    for (const each of fresh) each.classList.add("fresh");
    if (fresh.length) news.textContent = fresh.map((each) => each.querySelector("strong, a").textContent).join(" ");
  };

  const refresh = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const answer = await fetch(box.dataset.live);
      const html = await answer.text();
      if (!answer.ok || html === shown) return;
      const first = shown === null;
      shown = html;
      if (!first || known().size !== html.split("data-line=").length - 1) show(html);
    } catch {
      // The app was stopped, perhaps to be started again.
    }
  };

  setInterval(refresh, EVERY);
  document.querySelector("iframe")?.addEventListener("load", refresh);
  document.addEventListener("visibilitychange", refresh);
}
