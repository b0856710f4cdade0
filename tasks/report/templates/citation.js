"use strict";
document.getElementById("copy-citation")?.addEventListener("click", async () => {
  const words = document.getElementById("citation"), copied = document.getElementById("copied");
  const [paragraph, list] = words.children;
  const references = [...list.children].map((each, n) => `${n + 1}. ${each.textContent}`);
  try {
    await navigator.clipboard.writeText([paragraph.textContent, "", ...references].join("\n"));
    copied.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(words); // a browser that lets no page copy: it is one key away
    copied.textContent = "Selected: press Ctrl+C (⌘C) to copy.";
  }
});
