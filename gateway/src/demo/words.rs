//! Words that company and person names are made of.

pub(super) const STEMS: &[&str] = &[
    "Alder", "Amber", "Anchor", "Apex", "Arbor", "Ashford", "Aspen", "Atlas", "Aurora", "Avalon", "Beacon", "Birch",
    "Blackwood", "Bluestone", "Boreal", "Braxton", "Bridgewater", "Brightwell", "Bristol", "Calder", "Cambria", "Canyon",
    "Cardinal", "Cascade", "Castle", "Cedar", "Chandler", "Cinder", "Clearwater", "Cobalt", "Copper", "Coral", "Corsair",
    "Crescent", "Crestline", "Crown", "Dalton", "Delmar", "Dorset", "Driftwood", "Eastgate", "Echo", "Edison", "Elm",
    "Ember", "Everest", "Fairview", "Falcon", "Fenwick", "Fjord", "Forge", "Foxglove", "Garnet", "Glacier", "Granite",
    "Greenfield", "Halcyon", "Hamilton", "Harbor", "Hawthorn", "Helix", "Heron", "Highland", "Horizon", "Hudson", "Indigo",
    "Ironwood", "Ivory", "Jasper", "Juniper", "Keystone", "Kingfisher", "Lakeside", "Lantern", "Laurel", "Lexington",
    "Linden", "Lombard", "Lynx", "Magnolia", "Maple", "Marlowe", "Meridian", "Midland", "Monarch", "Montrose", "Moss",
    "Northstar", "Oakridge", "Obsidian", "Onyx", "Orchard", "Orion", "Osprey", "Pacific", "Palisade", "Paragon", "Pembroke",
    "Pinnacle", "Pioneer", "Polaris", "Prairie", "Quarry", "Quartz", "Radiant", "Ravenna", "Redwood", "Ridgeline", "Rosewood",
    "Sable", "Saffron", "Salem", "Sapphire", "Sequoia", "Sierra", "Silverlake", "Solstice", "Sparrow", "Sterling", "Summit",
    "Sycamore", "Tamarack", "Tempest", "Thornton", "Tidewater", "Timber", "Topaz", "Trident", "Umber", "Union", "Vantage",
    "Verdant", "Vertex", "Victor", "Walnut", "Waverly", "Westbrook", "Whitfield", "Willow", "Windsor", "Wren", "Yarrow",
    "Zenith", "Zephyr",
];

/// What the company does: the noun of its name and the industry it files under.
pub(super) const TRADES: &[(&str, &str)] = &[
    ("Logistics", "Transportation"),
    ("Freight", "Transportation"),
    ("Software", "Technology"),
    ("Systems", "Technology"),
    ("Analytics", "Technology"),
    ("Networks", "Telecommunications"),
    ("Robotics", "Manufacturing"),
    ("Tooling", "Manufacturing"),
    ("Plastics", "Manufacturing"),
    ("Foods", "Food & Beverage"),
    ("Brewing", "Food & Beverage"),
    ("Energy", "Energy"),
    ("Solar", "Energy"),
    ("Capital", "Finance"),
    ("Insurance", "Insurance"),
    ("Health", "Healthcare"),
    ("Diagnostics", "Healthcare"),
    ("Biosciences", "Biotechnology"),
    ("Textiles", "Apparel"),
    ("Outfitters", "Retail"),
    ("Media", "Media"),
    ("Studios", "Media"),
    ("Construction", "Construction"),
    ("Engineering", "Engineering"),
    ("Consulting", "Consulting"),
    ("Learning", "Education"),
    ("Hotels", "Hospitality"),
    ("Chemicals", "Chemicals"),
];

/// Name as the country writes it, ISO code, cities with a state or region, legal forms, phone prefix.
pub(super) struct Country {
    pub(super) name: &'static str,
    pub(super) code: &'static str,
    pub(super) cities: &'static [(&'static str, &'static str)],
    pub(super) forms: &'static [(&'static str, &'static str)],
    pub(super) top_level: &'static str,
    pub(super) phone: &'static str,
}

pub(super) const COUNTRIES: &[Country] = &[
    Country {
        name: "United States",
        code: "US",
        cities: &[
            ("Boston", "Massachusetts"), ("Denver", "Colorado"), ("Austin", "Texas"), ("Portland", "Oregon"),
            ("Chicago", "Illinois"), ("Atlanta", "Georgia"), ("Seattle", "Washington"), ("Columbus", "Ohio"),
            ("Phoenix", "Arizona"), ("Nashville", "Tennessee"),
        ],
        forms: &[("Inc.", "Incorporated"), ("LLC", "L.L.C."), ("Corp.", "Corporation"), ("Co.", "Company")],
        top_level: "com",
        phone: "+1",
    },
    Country {
        name: "United Kingdom",
        code: "GB",
        cities: &[("London", "Greater London"), ("Leeds", "West Yorkshire"), ("Bristol", "Somerset"), ("Glasgow", "Lanarkshire")],
        forms: &[("Ltd", "Limited"), ("PLC", "plc")],
        top_level: "co.uk",
        phone: "+44",
    },
    Country {
        name: "Germany",
        code: "DE",
        cities: &[("Berlin", "Berlin"), ("Hamburg", "Hamburg"), ("Stuttgart", "Baden-Württemberg"), ("Köln", "Nordrhein-Westfalen")],
        forms: &[("GmbH", "GmbH"), ("AG", "AG")],
        top_level: "de",
        phone: "+49",
    },
    Country {
        name: "Canada",
        code: "CA",
        cities: &[("Toronto", "Ontario"), ("Calgary", "Alberta"), ("Montréal", "Québec")],
        forms: &[("Inc.", "Incorporated"), ("Ltd.", "Limited")],
        top_level: "ca",
        phone: "+1",
    },
    Country {
        name: "Netherlands",
        code: "NL",
        cities: &[("Amsterdam", "Noord-Holland"), ("Utrecht", "Utrecht"), ("Eindhoven", "Noord-Brabant")],
        forms: &[("B.V.", "BV"), ("N.V.", "NV")],
        top_level: "nl",
        phone: "+31",
    },
];

pub(super) const STREETS: &[&str] = &[
    "Market Street", "Station Road", "Harbour Lane", "Mill Road", "King Street", "Park Avenue", "Canal Street", "Foundry Lane",
    "Church Street", "Garden Road", "Bridge Street", "Oak Avenue",
];

pub(super) const FIRST_NAMES: &[&str] = &[
    "Aisha", "Alan", "Amelia", "Andre", "Anja", "Ben", "Bianca", "Carlos", "Carmen", "Chen", "Clara", "Daniel", "Daria", "David",
    "Elena", "Emil", "Emma", "Farid", "Fiona", "George", "Grace", "Hana", "Henrik", "Ines", "Ivan", "Jasmin", "Joao", "Julia",
    "Kenji", "Lara", "Leo", "Lina", "Lucas", "Maya", "Mei", "Miguel", "Nadia", "Nora", "Olga", "Omar", "Paul", "Priya", "Rafael",
    "Rosa", "Samuel", "Sara", "Sofia", "Thomas", "Tara", "Victor", "Wei", "Yusuf", "Zoe",
];

pub(super) const LAST_NAMES: &[&str] = &[
    "Abbott", "Almeida", "Andersen", "Baker", "Bauer", "Becker", "Bennett", "Bishop", "Brandt", "Campbell", "Castro", "Chang",
    "Costa", "Davies", "de Vries", "Dubois", "Edwards", "Fischer", "Fletcher", "Garcia", "Gupta", "Hansen", "Hoffmann", "Hughes",
    "Ibrahim", "Jansen", "Jensen", "Kaya", "Keller", "Khan", "Kowalski", "Larsen", "Lee", "Lopez", "Marino", "Meyer", "Moreau",
    "Murphy", "Nakamura", "Nguyen", "Novak", "O'Brien", "Okafor", "Olsen", "Patel", "Petrov", "Quinn", "Reyes", "Richter",
    "Romano", "Rossi", "Sato", "Schmidt", "Silva", "Singh", "Tanaka", "Turner", "Visser", "Wagner", "Walker", "Weber", "Wright",
    "Yilmaz", "Zimmermann",
];

pub(super) const JOB_TITLES: &[&str] = &[
    "Chief Executive Officer", "Chief Financial Officer", "Head of Operations", "Head of Procurement", "IT Director",
    "Marketing Manager", "Plant Manager", "Purchasing Manager", "Sales Director", "VP Engineering", "VP Finance", "Data Analyst",
];
