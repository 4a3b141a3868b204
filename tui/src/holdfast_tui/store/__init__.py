"""What the screens show, kept up to date from the server: no terminal library here, an import contract checks it."""
