/* The console works without this file. It adds: the choice of a theme, copy buttons, a read-out of charts,
   and news on the live page. */
(() => {
  "use strict";
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, text, set = {}) => Object.assign(document.createElement(name), { textContent: text }, set);

  /* Theme: what the system says, or what the reader has chosen in this browser. */
  const KEY = "mailtrack-theme";
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem(KEY) || ""; } catch { return ""; } };
  const store = (name) => { try { name ? localStorage.setItem(KEY, name) : localStorage.removeItem(KEY); } catch { /* not kept */ } };
  const paint = (name) => { if (name === "light" || name === "dark") root.dataset.theme = name; else delete root.dataset.theme; };
  paint(stored());
  for (const place of $("[data-theme-choice]")) {
    const label = make("label", place.dataset.label || "Theme");
    const select = make("select", "");
    const names = (place.dataset.names || "System,Light,Dark").split(",");
    ["", "light", "dark"].forEach((value, at) => select.append(make("option", names[at], { value })));
    select.value = stored();
    select.addEventListener("change", () => { store(select.value); paint(select.value); });
    label.append(select);
    place.append(label);
    place.hidden = false;
  }

  /* Copy buttons: a press selects the text as before, a button puts it on the clipboard. */
  if (navigator.clipboard) for (const code of $("[data-copy]")) {
    const said = root.querySelector("[data-copy-words]");
    const [copy, copied] = (said ? said.dataset.copyWords : "Copy,Copied").split(",");
    const button = make("button", copy, { type: "button" });
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(code.textContent.trim()); } catch { return; }
      button.textContent = copied;
      setTimeout(() => { button.textContent = copy; }, 2000);
    });
    code.after(button);
  }

  /* Charts: the step under the pointer, in words. The table below each chart has the same without a pointer. */
  for (const chart of $(".chart")) {
    const steps = $("rect.h", chart);
    if (!steps.length) continue;
    const line = make("p", "\u00a0", { className: "s" });
    line.setAttribute("aria-hidden", "true");
    chart.after(line);
    chart.addEventListener("pointermove", (event) => {
      const step = event.target.closest("rect.h");
      if (step) line.textContent = step.querySelector("title").textContent;
    });
    chart.addEventListener("pointerleave", () => { line.textContent = "\u00a0"; });
  }

  /* Live: ask for the page again, and put its rows in place of ours. */
  const list = root.querySelector("[data-live]");
  if (list && list.dataset.live) {
    const news = root.querySelector("[data-news]");
    const ids = (place) => $("[data-id]", place).map((row) => row.dataset.id);
    const look = async () => {
      if (document.hidden) return plan();
      let page;
      try {
        const answer = await fetch(list.dataset.live, { headers: { Accept: "text/html" } });
        if (!answer.ok || answer.redirected) return plan();
        page = new DOMParser().parseFromString(await answer.text(), "text/html");
      } catch { return plan(); }
      const next = page.querySelector("[data-live]");
      if (!next) return;
      const known = new Set(ids(list));
      const fresh = ids(next).filter((id) => !known.has(id)).length;
      if (fresh && !list.contains(document.activeElement)) list.replaceChildren(...next.childNodes);
      if (fresh) news.textContent = `${news.dataset.news} ${fresh}`;
      const clock = page.querySelector("[data-clock]");
      if (clock) root.querySelector("[data-clock]").replaceChildren(...clock.childNodes);
      const stopped = page.querySelector("[data-stopped]");
      if (stopped) return list.before(stopped);
      plan();
    };
    const plan = () => { setTimeout(look, 1000 * Number(list.dataset.seconds)); };
    plan();
  }
})();
