SELECT parcel_id, sent, late, weight, depot FROM parcels
