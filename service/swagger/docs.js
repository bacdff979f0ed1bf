// Swagger UI over this server's own OpenAPI file.
SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: "none", // its default sends the file to another host
});
