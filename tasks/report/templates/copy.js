"use strict";
// in another page's frame (MLflow's) this one is a blob beside which nothing lies
if (location.protocol === "blob:" || location.protocol === "about:") {
  for (const link of document.querySelectorAll('a[href]:not([href^="#"])')) link.replaceWith(link.textContent);
  document.getElementById("copy").hidden = false;
}
