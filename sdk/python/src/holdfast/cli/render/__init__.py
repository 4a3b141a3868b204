"""How things look: tables, trees and pages for people, JSON for programs. Nothing here asks a server anything."""
